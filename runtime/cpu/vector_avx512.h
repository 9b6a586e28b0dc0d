// Sixteen numbers at a time: one register of AVX-512. See vector.h.
#pragma once

#include "runtime/base/dtype.h"

#include <immintrin.h>

namespace rtai::cpu {
namespace {

inline constexpr Index kRegisters = 32;

struct Floats {
  __m512 v;
};
struct Ints {
  __m512i v;
};

/// Some of the sixteen lanes.
struct Lanes {
  __mmask16 mask;
};

inline Lanes first_lanes(Index count) {
  return {static_cast<__mmask16>((1u << count) - 1u)};
}

// ---- floats

inline Floats zeros() {
  return {_mm512_setzero_ps()};
}
inline Floats all(float x) {
  return {_mm512_set1_ps(x)};
}
inline Floats load(const float* from) {
  return {_mm512_loadu_ps(from)};
}
inline Floats load(const float* from, Lanes lanes) {
  return {_mm512_maskz_loadu_ps(lanes.mask, from)};
}
inline void store(float* to, Floats a) {
  _mm512_storeu_ps(to, a.v);
}
inline void store(float* to, Floats a, Lanes lanes) {
  _mm512_mask_storeu_ps(to, lanes.mask, a.v);
}
inline Floats keep(Floats a, Lanes lanes) {
  return {_mm512_maskz_mov_ps(lanes.mask, a.v)};
}
/// `a` in these lanes, `b` in the others.
inline Floats choose(Lanes lanes, Floats a, Floats b) {
  return {_mm512_mask_mov_ps(b.v, lanes.mask, a.v)};
}
inline Floats operator+(Floats a, Floats b) {
  return {_mm512_add_ps(a.v, b.v)};
}
inline Floats operator-(Floats a, Floats b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
inline Floats operator*(Floats a, Floats b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
inline Floats operator/(Floats a, Floats b) {
  return {_mm512_div_ps(a.v, b.v)};
}
inline Floats fma(Floats a, Floats b, Floats c) {
  return {_mm512_fmadd_ps(a.v, b.v, c.v)};
}
/// c - a * b, rounded once.
inline Floats subtract_product(Floats c, Floats a, Floats b) {
  return {_mm512_fnmadd_ps(a.v, b.v, c.v)};
}
inline Floats min(Floats a, Floats b) {
  return {_mm512_min_ps(a.v, b.v)};
}
inline Floats max(Floats a, Floats b) {
  return {_mm512_max_ps(a.v, b.v)};
}
inline Floats magnitude(Floats a) {
  return {_mm512_abs_ps(a.v)};
}

// ---- integers

inline Ints all_ints(std::int32_t x) {
  return {_mm512_set1_epi32(x)};
}
inline Ints load_ints(const void* from) {
  return {_mm512_loadu_si512(from)};
}
inline Ints load_ints(const void* from, Lanes lanes) {
  return {_mm512_maskz_loadu_epi32(lanes.mask, from)};
}
inline void store_ints(void* to, Ints a) {
  _mm512_storeu_si512(to, a.v);
}
inline Ints operator+(Ints a, Ints b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
inline Ints operator-(Ints a, Ints b) {
  return {_mm512_sub_epi32(a.v, b.v)};
}
inline Ints max(Ints a, Ints b) {
  return {_mm512_max_epi32(a.v, b.v)};
}
inline Ints operator&(Ints a, Ints b) {
  return {_mm512_and_si512(a.v, b.v)};
}
template <int kBits>
Ints shift_left(Ints a) {
  return {_mm512_slli_epi32(a.v, kBits)};
}
/// Zeros come in from above.
template <int kBits>
Ints shift_right(Ints a) {
  return {_mm512_srli_epi32(a.v, kBits)};
}

// ---- from one to the other

inline Ints bits(Floats a) {
  return {_mm512_castps_si512(a.v)};
}
inline Floats from_bits(Ints a) {
  return {_mm512_castsi512_ps(a.v)};
}
inline Floats to_floats(Ints a) {
  return {_mm512_cvtepi32_ps(a.v)};
}
/// Nearest, ties to even.
inline Ints to_ints(Floats a) {
  return {_mm512_cvtps_epi32(a.v)};
}
inline Floats load_bytes(const std::int8_t* from) {
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(bytes))};
}
inline Floats load_bytes(const std::int8_t* from, Lanes lanes) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes.mask, from)))};
}
/// 64 integers as bytes, bounded to [-127, 127], each xor `flip`; `to` is 64-byte aligned.
inline void store_bytes(std::uint8_t* to, Ints a, Ints b, Ints c, Ints d, std::uint8_t flip) {
  // Packing works in each quarter of a register, so that four bytes of a, of b, of c and of d
  // follow each other.
  const __m512i mixed =
      _mm512_packs_epi16(_mm512_packs_epi32(a.v, b.v), _mm512_packs_epi32(c.v, d.v));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  const __m512i bytes =
      _mm512_max_epi8(_mm512_permutexvar_epi32(order, mixed), _mm512_set1_epi8(-127));
  _mm512_store_si512(to, _mm512_xor_si512(bytes, _mm512_set1_epi8(static_cast<char>(flip))));
}
/// 64 integers as bytes, bounded to [0, 255]; `to` is 64-byte aligned.
inline void store_unsigned_bytes(std::uint8_t* to, Ints a, Ints b, Ints c, Ints d) {
  const __m512i mixed =
      _mm512_packus_epi16(_mm512_packs_epi32(a.v, b.v), _mm512_packs_epi32(c.v, d.v));
  const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
  _mm512_store_si512(to, _mm512_permutexvar_epi32(order, mixed));
}
/// 16 integers as bytes, bounded to [-127, 127], each xor `flip`; `to` is 16-byte aligned.
inline void store_bytes(std::uint8_t* to, Ints a, std::uint8_t flip) {
  const __m128i bytes = _mm_max_epi8(_mm512_cvtsepi32_epi8(a.v), _mm_set1_epi8(-127));
  _mm_store_si128(reinterpret_cast<__m128i*>(to),
                  _mm_xor_si128(bytes, _mm_set1_epi8(static_cast<char>(flip))));
}

// ---- across lanes

/// Of every four lanes: a0 + a1, a2 + a3, b0 + b1, b2 + b3.
inline Floats add_pairs(Floats a, Floats b) {
  return {_mm512_add_ps(_mm512_shuffle_ps(a.v, b.v, _MM_SHUFFLE(2, 0, 2, 0)),
                        _mm512_shuffle_ps(a.v, b.v, _MM_SHUFFLE(3, 1, 3, 1)))};
}
/// to[2 i + e]: lanes 8 i + 2 l + e of `a` for l = 0, 1, those of `b`, then both for l = 2, 3.
inline void split_pairs(Floats a, Floats b, __m256 (&to)[4]) {
  const __m512 even = _mm512_shuffle_ps(a.v, b.v, _MM_SHUFFLE(2, 0, 2, 0));
  const __m512 odd = _mm512_shuffle_ps(a.v, b.v, _MM_SHUFFLE(3, 1, 3, 1));
  to[0] = _mm512_castps512_ps256(even);
  to[1] = _mm512_castps512_ps256(odd);
  to[2] = _mm512_extractf32x8_ps(even, 1);
  to[3] = _mm512_extractf32x8_ps(odd, 1);
}
/// to[i] = (a[i] + a[4 + i]) + (a[8 + i] + a[12 + i]); `to` is 16-byte aligned.
inline void store_sums_of_fours(float (&to)[4], Floats a) {
  const auto both = [](__m256 half) {
    return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
  };
  _mm_store_ps(to,
               _mm_add_ps(both(_mm512_castps512_ps256(a.v)), both(_mm512_extractf32x8_ps(a.v, 1))));
}
inline std::int32_t max_lanes(Ints a) {
  return _mm512_reduce_max_epi32(a.v);
}
inline float max_lanes(Floats a) {
  return _mm512_reduce_max_ps(a.v);
}

/// to[i][j] = from[j][i] for i, j < 16; `to` has rows of 16, `from` has a stride.
inline void transpose(const float* from, Index stride, float* to) {
  __m512 rows[16];
  __m512 mixed[16];
#pragma GCC unroll 16
  for (Index i = 0; i < 16; ++i)
    rows[i] = _mm512_loadu_ps(from + i * stride);
    // Four steps, each of which brings together what is twice as far apart.
#pragma GCC unroll 8
  for (Index i = 0; i < 16; i += 2) {
    mixed[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
    mixed[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (Index i = 0; i < 16; i += 4) {
    const auto pair = [&mixed](Index row) { return _mm512_castps_pd(mixed[row]); };
    rows[i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pair(i), pair(i + 2)));
    rows[i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pair(i), pair(i + 2)));
    rows[i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pair(i + 1), pair(i + 3)));
    rows[i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pair(i + 1), pair(i + 3)));
  }
#pragma GCC unroll 4
  for (Index i = 0; i < 4; ++i) {
    mixed[i] = _mm512_shuffle_f32x4(rows[i], rows[i + 4], 0x88);
    mixed[i + 4] = _mm512_shuffle_f32x4(rows[i], rows[i + 4], 0xdd);
    mixed[i + 8] = _mm512_shuffle_f32x4(rows[i + 8], rows[i + 12], 0x88);
    mixed[i + 12] = _mm512_shuffle_f32x4(rows[i + 8], rows[i + 12], 0xdd);
  }
#pragma GCC unroll 8
  for (Index i = 0; i < 8; ++i) {
    _mm512_storeu_ps(to + 16 * i, _mm512_shuffle_f32x4(mixed[i], mixed[i + 8], 0x88));
    _mm512_storeu_ps(to + 16 * (i + 8), _mm512_shuffle_f32x4(mixed[i], mixed[i + 8], 0xdd));
  }
}

}  // namespace
}  // namespace rtai::cpu
