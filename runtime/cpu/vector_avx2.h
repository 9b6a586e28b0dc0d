// Sixteen numbers at a time: two registers of AVX2. See vector.h.
#pragma once

#include "runtime/base/dtype.h"

#include <immintrin.h>

namespace rtai::cpu {
namespace {

inline constexpr Index kRegisters = 16;

struct Floats {
  __m256 low;
  __m256 high;
};
struct Ints {
  __m256i low;
  __m256i high;
};

/// Some of the sixteen lanes.
struct Lanes {
  __m256i low;
  __m256i high;
  Index count;
};

inline Lanes first_lanes(Index count) {
  alignas(64) static constexpr std::int32_t kOnesThenZeros[32] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                                  -1, -1, -1, -1, -1, -1, -1, -1};
  const std::int32_t* ones = kOnesThenZeros + 16 - count;
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(ones + 8)), count};
}

// ---- floats

inline Floats zeros() {
  return {_mm256_setzero_ps(), _mm256_setzero_ps()};
}
inline Floats all(float x) {
  return {_mm256_set1_ps(x), _mm256_set1_ps(x)};
}
inline Floats load(const float* from) {
  return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}
inline Floats load(const float* from, Lanes lanes) {
  return {_mm256_maskload_ps(from, lanes.low), _mm256_maskload_ps(from + 8, lanes.high)};
}
inline void store(float* to, Floats a) {
  _mm256_storeu_ps(to, a.low);
  _mm256_storeu_ps(to + 8, a.high);
}
inline void store(float* to, Floats a, Lanes lanes) {
  _mm256_maskstore_ps(to, lanes.low, a.low);
  _mm256_maskstore_ps(to + 8, lanes.high, a.high);
}
inline Floats keep(Floats a, Lanes lanes) {
  return {_mm256_and_ps(a.low, _mm256_castsi256_ps(lanes.low)),
          _mm256_and_ps(a.high, _mm256_castsi256_ps(lanes.high))};
}
/// `a` in these lanes, `b` in the others.
inline Floats choose(Lanes lanes, Floats a, Floats b) {
  return {_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(lanes.low)),
          _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(lanes.high))};
}
inline Floats operator+(Floats a, Floats b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline Floats operator-(Floats a, Floats b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline Floats operator*(Floats a, Floats b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline Floats operator/(Floats a, Floats b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
/// c - a * b, rounded once.
inline Floats subtract_product(Floats c, Floats a, Floats b) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
inline Floats min(Floats a, Floats b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline Floats max(Floats a, Floats b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline Floats magnitude(Floats a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}

// ---- integers

inline Ints all_ints(std::int32_t x) {
  return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)};
}
inline Ints load_ints(const void* from) {
  const auto* halves = static_cast<const __m256i*>(from);
  return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
inline Ints load_ints(const void* from, Lanes lanes) {
  const auto* numbers = static_cast<const int*>(from);
  return {_mm256_maskload_epi32(numbers, lanes.low),
          _mm256_maskload_epi32(numbers + 8, lanes.high)};
}
inline void store_ints(void* to, Ints a) {
  auto* halves = static_cast<__m256i*>(to);
  _mm256_storeu_si256(halves, a.low);
  _mm256_storeu_si256(halves + 1, a.high);
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline Ints operator-(Ints a, Ints b) {
  return {_mm256_sub_epi32(a.low, b.low), _mm256_sub_epi32(a.high, b.high)};
}
inline Ints max(Ints a, Ints b) {
  return {_mm256_max_epi32(a.low, b.low), _mm256_max_epi32(a.high, b.high)};
}
inline Ints operator&(Ints a, Ints b) {
  return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
template <int kBits>
Ints shift_left(Ints a) {
  return {_mm256_slli_epi32(a.low, kBits), _mm256_slli_epi32(a.high, kBits)};
}
/// Zeros come in from above.
template <int kBits>
Ints shift_right(Ints a) {
  return {_mm256_srli_epi32(a.low, kBits), _mm256_srli_epi32(a.high, kBits)};
}

// ---- from one to the other

inline Ints bits(Floats a) {
  return {_mm256_castps_si256(a.low), _mm256_castps_si256(a.high)};
}
inline Floats from_bits(Ints a) {
  return {_mm256_castsi256_ps(a.low), _mm256_castsi256_ps(a.high)};
}
inline Floats to_floats(Ints a) {
  return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)};
}
/// Nearest, ties to even.
inline Ints to_ints(Floats a) {
  return {_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high)};
}
inline Floats load_bytes(const std::int8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return {_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes)),
          _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(bytes, 8)))};
}
inline Floats load_bytes(const std::int8_t* from, Lanes lanes) {
  std::int8_t bytes[16] = {};
  __builtin_memcpy(bytes, from, static_cast<std::size_t>(lanes.count));
  return load_bytes(bytes);
}
/// 32 integers as bytes, bounded to [-127, 127], each xor `flip`; `to` is 32-byte aligned.
inline void store_bytes(std::uint8_t* to, Ints a, Ints b, std::uint8_t flip) {
  // Packing works in each half of a register: a0-3 a8-11 b0-3 b8-11 | a4-7 a12-15 b4-7 b12-15.
  const __m256i mixed =
      _mm256_packs_epi16(_mm256_packs_epi32(a.low, a.high), _mm256_packs_epi32(b.low, b.high));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  const __m256i bytes =
      _mm256_max_epi8(_mm256_permutevar8x32_epi32(mixed, order), _mm256_set1_epi8(-127));
  _mm256_store_si256(reinterpret_cast<__m256i*>(to),
                     _mm256_xor_si256(bytes, _mm256_set1_epi8(static_cast<char>(flip))));
}
/// 64 integers as bytes, bounded to [-127, 127], each xor `flip`; `to` is 64-byte aligned.
inline void store_bytes(std::uint8_t* to, Ints a, Ints b, Ints c, Ints d, std::uint8_t flip) {
  store_bytes(to, a, b, flip);
  store_bytes(to + 32, c, d, flip);
}
inline void store_unsigned_bytes(std::uint8_t* to, Ints a, Ints b) {
  const __m256i mixed =
      _mm256_packus_epi16(_mm256_packs_epi32(a.low, a.high), _mm256_packs_epi32(b.low, b.high));
  const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
  _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm256_permutevar8x32_epi32(mixed, order));
}
/// 64 integers as bytes, bounded to [0, 255]; `to` is 64-byte aligned.
inline void store_unsigned_bytes(std::uint8_t* to, Ints a, Ints b, Ints c, Ints d) {
  store_unsigned_bytes(to, a, b);
  store_unsigned_bytes(to + 32, c, d);
}
/// 16 integers as bytes, bounded to [-127, 127], each xor `flip`; `to` is 16-byte aligned.
inline void store_bytes(std::uint8_t* to, Ints a, std::uint8_t flip) {
  // Packing works in each half of a register.
  const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(a.low, a.high), 0xd8);
  const __m128i bytes =
      _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
  _mm_store_si128(reinterpret_cast<__m128i*>(to),
                  _mm_xor_si128(_mm_max_epi8(bytes, _mm_set1_epi8(-127)),
                                _mm_set1_epi8(static_cast<char>(flip))));
}

// ---- across lanes

/// Of every four lanes: a0 + a1, a2 + a3, b0 + b1, b2 + b3.
inline Floats add_pairs(Floats a, Floats b) {
  const auto half = [](__m256 x, __m256 y) {
    return _mm256_add_ps(_mm256_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0)),
                         _mm256_shuffle_ps(x, y, _MM_SHUFFLE(3, 1, 3, 1)));
  };
  return {half(a.low, b.low), half(a.high, b.high)};
}
/// to[2 i + e]: lanes 8 i + 2 l + e of `a` for l = 0, 1, those of `b`, then both for l = 2, 3.
inline void split_pairs(Floats a, Floats b, __m256 (&to)[4]) {
  to[0] = _mm256_shuffle_ps(a.low, b.low, _MM_SHUFFLE(2, 0, 2, 0));
  to[1] = _mm256_shuffle_ps(a.low, b.low, _MM_SHUFFLE(3, 1, 3, 1));
  to[2] = _mm256_shuffle_ps(a.high, b.high, _MM_SHUFFLE(2, 0, 2, 0));
  to[3] = _mm256_shuffle_ps(a.high, b.high, _MM_SHUFFLE(3, 1, 3, 1));
}
/// to[i] = (a[i] + a[4 + i]) + (a[8 + i] + a[12 + i]); `to` is 16-byte aligned.
inline void store_sums_of_fours(float (&to)[4], Floats a) {
  const auto both = [](__m256 half) {
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  };
  _mm_store_ps(to, _mm_add_ps(both(a.low), both(a.high)));
}
inline std::int32_t max_lanes(Ints a) {
  const __m256i eight = _mm256_max_epi32(a.low, a.high);
  const __m128i four =
      _mm_max_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_max_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
  return _mm_cvtsi128_si32(_mm_max_epi32(two, _mm_shuffle_epi32(two, _MM_SHUFFLE(2, 3, 0, 1))));
}
inline float max_lanes(Floats a) {
  const __m256 eight = _mm256_max_ps(a.low, a.high);
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

/// to[i][j] = from[j][i] for i, j < 8; `to` has rows of 16, `from` has a stride.
inline void transpose_quarter(const float* from, Index stride, float* to) {
  __m256 rows[8];
  __m256 mixed[8];
#pragma GCC unroll 8
  for (Index i = 0; i < 8; ++i)
    rows[i] = _mm256_loadu_ps(from + i * stride);
    // Three steps, each of which brings together what is twice as far apart.
#pragma GCC unroll 4
  for (Index i = 0; i < 8; i += 2) {
    mixed[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
    mixed[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 2
  for (Index i = 0; i < 8; i += 4) {
    const auto pair = [&mixed](Index row) { return _mm256_castps_pd(mixed[row]); };
    rows[i] = _mm256_castpd_ps(_mm256_unpacklo_pd(pair(i), pair(i + 2)));
    rows[i + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(pair(i), pair(i + 2)));
    rows[i + 2] = _mm256_castpd_ps(_mm256_unpacklo_pd(pair(i + 1), pair(i + 3)));
    rows[i + 3] = _mm256_castpd_ps(_mm256_unpackhi_pd(pair(i + 1), pair(i + 3)));
  }
#pragma GCC unroll 4
  for (Index i = 0; i < 4; ++i) {
    _mm256_storeu_ps(to + 16 * i, _mm256_permute2f128_ps(rows[i], rows[i + 4], 0x20));
    _mm256_storeu_ps(to + 16 * (i + 4), _mm256_permute2f128_ps(rows[i], rows[i + 4], 0x31));
  }
}

/// to[i][j] = from[j][i] for i, j < 16; `to` has rows of 16, `from` has a stride.
inline void transpose(const float* from, Index stride, float* to) {
  for (Index i = 0; i < 16; i += 8) {
    for (Index j = 0; j < 16; j += 8)
      transpose_quarter(from + j * stride + i, stride, to + 16 * i + j);
  }
}

}  // namespace
}  // namespace rtai::cpu
