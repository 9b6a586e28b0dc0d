// Dot products of four bytes in every lane: vpdpbusd, or what gives the same where it is missing.
//
// Source: four unsigned bytes for all lanes. add: to each lane of `sums` the products of the
// source's bytes and the lane's four signed bytes, exactly.
#pragma once

#include "runtime/cpu/vector.h"

namespace rtai::cpu {
namespace {

inline std::int32_t four_bytes(const std::uint8_t* from) {
  std::int32_t bytes = 0;
  __builtin_memcpy(&bytes, from, 4);
  return bytes;
}

#if defined(__AVX512VNNI__)

struct DotBytes {
  static constexpr Index kTileRows = 6;  // 24 sums, 4 weights, 1 source
  static constexpr Index kTilePanels = 4;

  using Source = __m512i;
  static Source source(const std::uint8_t* four) { return _mm512_set1_epi32(four_bytes(four)); }
  static Ints add(Ints sums, Source source, Ints weights) {
    return {_mm512_dpbusd_epi32(sums.v, source, weights.v)};
  }
};

#elif defined(__AVXVNNI__)

struct DotBytes {
  static constexpr Index kTileRows = 6;  // 12 registers of sums, 2 of weights, 1 source
  static constexpr Index kTilePanels = 1;

  using Source = __m256i;
  static Source source(const std::uint8_t* four) { return _mm256_set1_epi32(four_bytes(four)); }
  static Ints add(Ints sums, Source source, Ints weights) {
    return {_mm256_dpbusd_avx_epi32(sums.low, source, weights.low),
            _mm256_dpbusd_avx_epi32(sums.high, source, weights.high)};
  }
};

#else

/// Bytes 0 and 2 of each lane as words, and bytes 1 and 3: vpmaddwd adds two products exactly.
struct DotBytes {
  static constexpr Index kTileRows = 4;  // 8 registers of sums, 4 of weights, 2 of source
  static constexpr Index kTilePanels = 1;

  struct Source {
    __m256i even;
    __m256i odd;
  };
  static Source source(const std::uint8_t* four) {
    const __m256i bytes = _mm256_set1_epi32(four_bytes(four));
    return {_mm256_and_si256(bytes, _mm256_set1_epi16(0xff)), _mm256_srli_epi16(bytes, 8)};
  }
  static __m256i add(__m256i sums, Source source, __m256i weights) {
    const __m256i even = _mm256_srai_epi16(_mm256_slli_epi16(weights, 8), 8);
    const __m256i odd = _mm256_srai_epi16(weights, 8);
    return _mm256_add_epi32(sums, _mm256_add_epi32(_mm256_madd_epi16(source.even, even),
                                                   _mm256_madd_epi16(source.odd, odd)));
  }
  static Ints add(Ints sums, Source source, Ints weights) {
    return {add(sums.low, source, weights.low), add(sums.high, source, weights.high)};
  }
};

#endif

/// Adds to sums[r][p] the products of source row r and panel p, of which there are `groups` of four
/// bytes; before_group() is called ahead of each. Dot: like DotBytes.
template <class Dot, Index kRows, Index kPanels, class BeforeGroup>
[[gnu::always_inline]] inline void add_products(RowCursor<kRows, std::uint8_t> source,
                                                RowCursor<kPanels, std::int8_t> panels,
                                                Index groups,
                                                BeforeGroup&& before_group,
                                                Ints (&sums)[kRows][kPanels]) {
  for (Index g = 0; g < groups; ++g) {
    before_group();
    Ints weights[kPanels];
    unroll<kPanels>([&](auto p) { weights[p] = load_ints(panels.template row<p.kIndex>()); });
    unroll<kRows>([&](auto r) {
      const auto four = Dot::source(source.template row<r.kIndex>());
      unroll<kPanels>([&](auto p) { sums[r][p] = Dot::add(sums[r][p], four, weights[p]); });
    });
    source.advance(4);
    panels.advance(64);
  }
}

}  // namespace
}  // namespace rtai::cpu
