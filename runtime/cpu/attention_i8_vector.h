// AttentionI8 in vectors: lanes are tokens where queries meet keys, and columns where weights meet
// values, so that one tile of dot products serves both.
#pragma once

#include "runtime/cpu/dot_bytes.h"
#include "runtime/cpu/results.h"
#include "runtime/cpu/vector_functions.h"
#include "runtime/kernels/attention_i8.h"

namespace rtai::cpu {
namespace {

/// A matrix of bytes that is multiplied: panels of 16 columns, in groups of four bytes.
struct Panels {
  const std::int8_t* data;
  Index panel_bytes;
  Index count;
  Index groups;
  const std::int32_t* start;  // of each column: what its sums begin with; null: zero
};

/// Sums of kRows source rows over kPanels panels, into rows of `tile`. (Through memory: gcc 12
/// keeps arrays of registers that are used for more than this on the stack all the time.)
template <Index kRows, Index kPanels>
void dot_tile(const std::uint8_t* source,
              Index source_stride,
              const Panels& panels,
              Index first,
              std::int32_t* tile,
              Index tile_stride) {
  const std::int8_t* data = panels.data + first * panels.panel_bytes;
  Ints sums[kRows][kPanels];
#pragma GCC unroll 4
  for (Index p = 0; p < kPanels; ++p) {
    const Ints start =
        panels.start == nullptr ? all_ints(0) : load_ints(panels.start + 16 * (first + p));
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r)
      sums[r][p] = start;
  }
  add_products<DotBytes>(
      RowCursor<kRows, std::uint8_t>(source, source_stride),
      RowCursor<kPanels, std::int8_t>(data, panels.panel_bytes), panels.groups, [] {}, sums);
#pragma GCC unroll 8
  for (Index r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (Index p = 0; p < kPanels; ++p)
      store_ints(tile + r * tile_stride + 16 * (first + p), sums[r][p]);
  }
}

/// dot_tile for `rows` <= kRows rows over all panels.
template <Index kRows = DotBytes::kTileRows>
void dot_rows(const std::uint8_t* source,
              Index source_stride,
              Index rows,
              const Panels& panels,
              std::int32_t* tile,
              Index tile_stride) {
  if constexpr (kRows > 1) {
    if (rows < kRows)
      return dot_rows<kRows - 1>(source, source_stride, rows, panels, tile, tile_stride);
  }
  Index p = 0;
  if constexpr (DotBytes::kTilePanels >= 4) {
    for (; p + 4 <= panels.count; p += 4)
      dot_tile<kRows, 4>(source, source_stride, panels, p, tile, tile_stride);
    for (; p + 2 <= panels.count; p += 2)
      dot_tile<kRows, 2>(source, source_stride, panels, p, tile, tile_stride);
  }
  for (; p < panels.count; ++p)
    dot_tile<kRows, 1>(source, source_stride, panels, p, tile, tile_stride);
}

/// How HeadI8 multiplies: in vectors, a few rows at a time.
struct VectorDots {
  static constexpr Index kRows = DotBytes::kTileRows;
  static constexpr bool kSignedQueries = false;

  static void begin() {}
  static void end() {}
  /// Bytes from one query to the next.
  static constexpr Index query_stride(Index head_bytes) { return head_bytes; }
  /// Sums of `rows` source rows over all panels: queries over keys, or weights, which are zero from
  /// the last token to a multiple of 64, over values.
  template <bool kIsQueries>
  static void multiply(const std::uint8_t* source,
                       Index source_stride,
                       Index rows,
                       const Panels& panels,
                       std::int32_t* tile,
                       Index tile_stride) {
    dot_rows(source, source_stride, rows, panels, tile, tile_stride);
  }
};

/// Sixteen bytes of each of four rows; rows from `count` on are zero.
struct FourRows {
  FourRows(const std::int8_t* from, Index stride, Index count) {
    const auto row = [&](Index i) {
      return _mm_load_si128(reinterpret_cast<const __m128i*>(from + i * stride));
    };
    if (count >= 4) {
      rows[0] = row(0);
      rows[1] = row(1);
      rows[2] = row(2);
      rows[3] = row(3);
      return;
    }
    for (Index i = 0; i < 4; ++i)
      rows[i] = i < count ? row(i) : _mm_setzero_si128();
  }
  __m128i rows[4];
};

/// to + i * apart: bytes 4 i to 4 i + 3 of all four rows.
inline void store_groups(const FourRows& four, std::int8_t* to, Index apart) {
  const __m128i* r = four.rows;
  const __m128i low01 = _mm_unpacklo_epi32(r[0], r[1]);
  const __m128i low23 = _mm_unpacklo_epi32(r[2], r[3]);
  const __m128i high01 = _mm_unpackhi_epi32(r[0], r[1]);
  const __m128i high23 = _mm_unpackhi_epi32(r[2], r[3]);
  const auto at = [&](Index i) { return reinterpret_cast<__m128i*>(to + i * apart); };
  _mm_store_si128(at(0), _mm_unpacklo_epi64(low01, low23));
  _mm_store_si128(at(1), _mm_unpackhi_epi64(low01, low23));
  _mm_store_si128(at(2), _mm_unpacklo_epi64(high01, high23));
  _mm_store_si128(at(3), _mm_unpackhi_epi64(high01, high23));
}

/// to: byte 0 of all four rows, byte 1 of all four, and so on: 64 bytes.
inline void store_columns(const FourRows& four, std::int8_t* to) {
  const __m128i* r = four.rows;
  const __m128i low01 = _mm_unpacklo_epi8(r[0], r[1]);
  const __m128i low23 = _mm_unpacklo_epi8(r[2], r[3]);
  const __m128i high01 = _mm_unpackhi_epi8(r[0], r[1]);
  const __m128i high23 = _mm_unpackhi_epi8(r[2], r[3]);
  auto* at = reinterpret_cast<__m128i*>(to);
  _mm_store_si128(at, _mm_unpacklo_epi16(low01, low23));
  _mm_store_si128(at + 1, _mm_unpackhi_epi16(low01, low23));
  _mm_store_si128(at + 2, _mm_unpacklo_epi16(high01, high23));
  _mm_store_si128(at + 3, _mm_unpackhi_epi16(high01, high23));
}

/// log2 of scales as AttentionI8 has it.
inline Floats logarithm_of_scales(Floats scales) {
  const Ints exponent = shift_right<23>(bits(scales)) - all_ints(127);
  const Ints mantissa = (bits(scales) & all_ints(0x7fffff)) + all_ints(0x3f800000);
  const Floats u = from_bits(mantissa) - all(1.0f);
  return fma(polynomial(kSoftmaxOfI8.logarithm, u), u, to_floats(exponent));
}

/// 2^y as AttentionI8 has it.
inline Floats weight_vector(Floats y) {
  return power_of_two(kSoftmaxOfI8.power, max(all(-126.0f), y));
}

/// Where Divisor wants the number of each of 64 tokens.
struct DivisorPlaces {
  constexpr DivisorPlaces() {
    for (int t = 0; t < 64; ++t) {
      const int l = t % 8 / 2;
      const int step = t / 16 % 2 * 4 + t / 8 % 2 * 2 + t % 2;
      of[t] = static_cast<std::uint8_t>(step * 8 + l / 2 * 4 + t / 32 * 2 + l % 2);
    }
  }
  std::uint8_t of[64] = {};
};
constexpr DivisorPlaces kDivisorPlaces;

/// What the weights of a query stand for, added in the order of AttentionI8. A register has the
/// sums of two c: l = 0, 1 of one, those of the other, then l = 2, 3 of both. Numbers in the order
/// of `place` are eight at a time what is added next.
class Divisor {
 public:
  /// Where a number of token t is.
  static Index place(Index t) { return t / 64 * 64 + kDivisorPlaces.of[t % 64]; }

  /// How many places `count` tokens are spread over.
  static Index places(Index count) {
    const Index left = count % 64;
    return count - left + (left == 0 ? 0 : left <= 16 ? 32 : 64);
  }

  /// Weights of tokens [first, first + 64) times `factors` from place `first` on; only the first
  /// `count` weights are not zero.
  void add(Index first, const Floats (&weights)[4], const float* factors, Index count = 64) {
    const auto same = [](__m256 /*weight*/, __m256 factor) { return factor; };
    add_steps<0>(first, weights, factors, same);
    if (count > 16) add_steps<1>(first, weights, factors, same);
  }
  /// The same where the factors of weights that are zero may be anything.
  void add_some(Index first, const Floats (&weights)[4], const float* factors) {
    const auto of_weight = [](__m256 weight, __m256 factor) {
      return _mm256_and_ps(factor, _mm256_cmp_ps(weight, _mm256_setzero_ps(), _CMP_NEQ_UQ));
    };
    add_steps<0>(first, weights, factors, of_weight);
    add_steps<1>(first, weights, factors, of_weight);
  }

  /// Sums of the four c, to be added one after the other.
  __m128 parts() const {
    const __m256 pairs = _mm256_hadd_ps(sums_[0], sums_[1]);
    return _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1));
  }

 private:
  template <Index kHalf, class Factor>
  void add_steps(Index first,
                 const Floats (&weights)[4],
                 const float* factors,
                 const Factor& factor) {
    __m256& sum = sums_[first / 64 % 2];
    __m256 steps[4];
    split_pairs(weights[kHalf], weights[kHalf + 2], steps);
    unroll<4>([&](auto i) {
      const __m256 factors_of_step = _mm256_loadu_ps(factors + 8 * (4 * kHalf + i));
      sum = _mm256_fmadd_ps(steps[i], factor(steps[i], factors_of_step), sum);
    });
  }

  __m256 sums_[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};
};

/// One head of one sequence. Dots: like VectorDots.
template <class Dots>
class HeadI8 {
 public:
  HeadI8(const AttentionI8::Args& args, Index head, std::byte* scratch)
      : args_(args), head_(head), keys_(reinterpret_cast<std::int8_t*>(scratch)) {
    values_ = keys_ + padded_tokens_ * head_bytes_;
    key_scale_ = reinterpret_cast<float*>(values_ + padded_tokens_ * head_bytes_);
    logarithm_ = key_scale_ + padded_tokens_;
    inverse_ = logarithm_ + padded_tokens_;
    start_ = reinterpret_cast<std::int32_t*>(inverse_ + padded_tokens_);
    scores_ = reinterpret_cast<float*>(start_ + padded_tokens_);
    results_ = reinterpret_cast<std::int32_t*>(scores_ + kRows * padded_tokens_);
    weights_ = reinterpret_cast<std::uint8_t*>(results_ + kRows * head_bytes_);
    queries_ = weights_ + kRows * padded_tokens_;
    if (query_stride_ > head_bytes_)  // zeros between them
      __builtin_memset(queries_, 0, static_cast<std::size_t>(kRows * query_stride_));
    pack();
    describe_tokens();
  }

  void run() {
    // Tiles that differ by at most one row.
    Index first = 0;
    for (Index tiles = (args_.queries + kRows - 1) / kRows; tiles > 0; --tiles) {
      const Index count = (args_.queries - first + tiles - 1) / tiles;
      attend(first, count);
      first += count;
    }
  }

 private:
  static constexpr Index kRows = Dots::kRows;
  static_assert(kRows <= AttentionI8::kTileQueries);

  /// Bytes or scales of a head (0: queries, 1: keys, 2: values) of token t.
  const std::int8_t* bytes_of(Index third, Index t) const {
    return args_.qkv +
           ((3 * t + third) * args_.heads_in_row + args_.first_head + head_) * head_bytes_;
  }
  float scale_of(Index third, Index t) const {
    return args_.scale_qkv[(3 * t + third) * args_.heads_in_row + args_.first_head + head_];
  }

  /// keys_ as [tokens/16][head/4][16][4], values_ as [head/16][tokens/4][16][4].
  void pack() {
    const Index stride = 3 * args_.heads_in_row * head_bytes_;
    for (Index t = 0; t < panel_tokens_; t += 4) {
      const Index left = args_.tokens - t;
      for (Index d = 0; d < head_bytes_; d += 16) {
        store_groups(FourRows(bytes_of(1, t) + d, stride, left),
                     keys_ + t / 16 * 16 * head_bytes_ + d * 16 + t % 16 * 4, 64);
        store_columns(FourRows(bytes_of(2, t) + d, stride, left),
                      values_ + d * panel_tokens_ + t * 16);
      }
    }
  }

  void describe_tokens() {
    for (Index i = padded_tokens_ - 64; i < padded_tokens_; i += 16)
      store(inverse_ + i, all(1.0f));
    for (Index t = 0; t < args_.tokens; ++t) {
      key_scale_[t] = scale_of(1, t);
      logarithm_[t] = inverse_[Divisor::place(t)] = scale_of(2, t);
    }
    for (Index t = args_.tokens; t < panel_tokens_; ++t)
      key_scale_[t] = logarithm_[t] = 1.0f;
    for (Index i = 0; i < Divisor::places(args_.tokens); i += 16) {
      const Floats scale = load(inverse_ + i);
      store(inverse_ + i, all(1.0f) / scale + (scale - scale));
    }
    alignas(4) static constexpr std::uint8_t kOffsets[4] = {128, 128, 128, 128};
    for (Index t = 0; t < panel_tokens_; t += 16) {
      // Adding zero, or what is not a number to a scale that is infinite.
      const Floats key_scale = load(key_scale_ + t);
      store(key_scale_ + t, key_scale + (key_scale - key_scale));
      store(logarithm_ + t, logarithm_of_scales(load(logarithm_ + t)));
      if (Dots::kSignedQueries) continue;
      // Queries are multiplied as integer + 128: what that adds is taken off beforehand.
      Ints sums = all_ints(0);
      for (Index g = 0; g < head_bytes_ / 4; ++g) {
        sums = DotBytes::add(sums, DotBytes::source(kOffsets),
                             load_ints(keys_ + t * head_bytes_ + g * 64));
      }
      store_ints(start_ + t, all_ints(0) - sums);
    }
  }

  /// Queries [first, first + count) of args, count <= kRows.
  void attend(Index first, Index count) {
    const Index last_place = args_.first_query + first + count - 1;
    const Index visible = visible_from(last_place);
    load_queries(first, count);
    Dots::template multiply<true>(
        queries_, query_stride_, count,
        {keys_, 16 * head_bytes_, (visible + 15) / 16, head_bytes_ / 4, start_},
        reinterpret_cast<std::int32_t*>(scores_), padded_tokens_);
    // Step by step for all queries: each step ends with a sum or a maximum over lanes, which takes
    // long but delays nothing else.
    const Index place = args_.first_query + first;
    Floats largest[kRows];
    alignas(16) float divisors[kRows][4];
    float numbers[kRows];
    for (Index r = 0; r < count; ++r)
      largest[r] = score(r, place + r, visible_from(place + r));
    for (Index r = 0; r < count; ++r)
      numbers[r] = max_lanes(largest[r]) - kSoftmaxOfI8.log2_of_255;
    for (Index r = 0; r < count; ++r)
      _mm_store_ps(divisors[r], weigh(r, numbers[r], visible_from(place + r), visible));
    for (Index r = 0; r < count; ++r) {
      const float* of = divisors[r];
      numbers[r] = 1.0f / (((of[0] + of[1]) + of[2]) + of[3]);
    }
    Dots::template multiply<false>(
        weights_, padded_tokens_, count,
        {values_, 16 * panel_tokens_, head_bytes_ / 16, (visible + 3) / 4, nullptr}, results_,
        head_bytes_);
    with_results(args_, [&](auto to) {
      for (Index r = 0; r < count; ++r)
        store_results(r, numbers[r], first + r, to);
    });
  }

  /// How many tokens the query at `place` sees.
  Index visible_from(Index place) const {
    return args_.causal && place < args_.tokens ? place + 1 : args_.tokens;
  }

  /// Turns the sums of query `r` of the tile into scores. Returns what to subtract from them.
  Floats score(Index r, Index place, Index visible) {
    float* scores = scores_ + r * padded_tokens_;
    const Floats factor = all(scale_of(0, place) * (args_.scale * 1.44269504f));
    Floats largest = all(-__builtin_inff());
    // Copies: what is stored might be this object, as far as the compiler knows.
    const float* key_scale = key_scale_;
    const float* logarithm = logarithm_;
    for_vectors(visible, [&](Index t, auto lanes) {
      const Floats scaled = to_floats(load_ints(scores + t)) * load(key_scale + t);
      const Floats score = fma(scaled, factor, load(logarithm + t));
      store(scores + t, score);
      largest = max(largest, choose(lanes, score, all(-__builtin_inff())));
    });
    return largest;
  }

  /// The weights of query `r` of the tile, zeros up to `end`. Returns the parts of its divisor.
  __m128 weigh(Index r, float highest, Index visible, Index end) {
    const float* scores = scores_ + r * padded_tokens_;
    std::uint8_t* weights = weights_ + r * padded_tokens_;
    Divisor divisor;
    const auto weigh_vector = [&](Index t, auto lanes) __attribute__((always_inline)) {
      return keep(weight_vector(load(scores + t) - all(highest)), lanes);
    };
    const auto store_integers = [&](Index t, const Floats(&of)[4]) __attribute__((always_inline)) {
      store_unsigned_bytes(weights + t, to_ints(of[0]), to_ints(of[1]), to_ints(of[2]),
                           to_ints(of[3]));
    };
    Index t = 0;
    for (; t + 64 <= visible; t += 64) {
      const Floats four[4] = {weigh_vector(t, AllLanes{}), weigh_vector(t + 16, AllLanes{}),
                              weigh_vector(t + 32, AllLanes{}), weigh_vector(t + 48, AllLanes{})};
      divisor.add(t, four, inverse_ + t);
      store_integers(t, four);
    }
    const Floats none[4] = {zeros(), zeros(), zeros(), zeros()};
    if (t < visible) {
      Floats last[4] = {none[0], none[1], none[2], none[3]};
      for_vectors(visible - t,
                  [&](Index i, auto lanes) { last[i / 16] = weigh_vector(t + i, lanes); });
      if (visible == args_.tokens)
        divisor.add(t, last, inverse_ + t, visible - t);
      else
        divisor.add_some(t, last, inverse_ + t);
      store_integers(t, last);
      t += 64;
    }
    if (t < end) store_integers(t, none);
    return divisor.parts();
  }

  /// Weights times values, times the query's factor.
  template <class Results>
  void store_results(Index r, float factor, Index query, const Results& to) const {
    const std::int32_t* results = results_ + r * head_bytes_;
    for_vectors(args_.head_dim, [&](Index d, auto lanes) {
      to.store(query, head_ * args_.head_dim + d, to_floats(load_ints(results + d)) * all(factor),
               lanes);
    });
  }

  void load_queries(Index first, Index count) {
    const __m128i flip = _mm_set1_epi8(static_cast<char>(Dots::kSignedQueries ? 0 : 0x80));
    for (Index r = 0; r < count; ++r) {
      const auto* from =
          reinterpret_cast<const __m128i*>(bytes_of(0, args_.first_query + first + r));
      auto* to = reinterpret_cast<__m128i*>(queries_ + r * query_stride_);
      for (Index i = 0; i < head_bytes_ / 16; ++i)
        _mm_store_si128(to + i, _mm_xor_si128(_mm_load_si128(from + i), flip));
    }
  }

  const AttentionI8::Args& args_;
  Index head_;
  Index head_bytes_ = padded_head(args_.head_dim);
  Index query_stride_ = Dots::query_stride(head_bytes_);
  Index panel_tokens_ = (args_.tokens + 15) / 16 * 16;
  Index padded_tokens_ = (args_.tokens + 63) / 64 * 64;
  std::int8_t* keys_;
  std::int8_t* values_;
  float* key_scale_;       // of each token
  float* logarithm_;       // of its value's scale
  float* inverse_;         // of its value's scale, in the order of Divisor::place
  std::int32_t* start_;    // what the sums with its key begin with
  float* scores_;          // [kRows, padded_tokens_]; at first the sums
  std::int32_t* results_;  // [kRows, head_bytes_]
  std::uint8_t* weights_;  // [kRows, padded_tokens_]
  std::uint8_t* queries_;  // [kRows, query_stride_], integer + 128 unless they are signed
};

template <class Dots>
void attention_i8(const AttentionI8::Args& args, ExecContext& context) noexcept {
  Dots::begin();
  for (Index h = 0; h < args.heads; ++h)
    HeadI8<Dots>(args, h, context.scratch).run();
  Dots::end();
}

}  // namespace
}  // namespace rtai::cpu
