// Attention in vectors whose lanes are queries: maximum and sum of the softmax need no steps across
// lanes, and a query's result does not depend on those beside it.
#pragma once

#include "runtime/cpu/vector_functions.h"
#include "runtime/kernels/attention.h"

namespace rtai::cpu {
namespace {

// Scores of 16 queries x 16 tokens fill 16 registers of AVX-512, those of 4 tokens 8 of AVX2.
inline constexpr Index kScoreTokens = kRegisters >= 32 ? 16 : 4;
// Results of 8 queries x 32 columns: 16 registers of AVX-512; of 4 x 16: 8 of AVX2.
inline constexpr Index kContextQueries = kRegisters >= 32 ? 8 : 4;
inline constexpr Index kContextPanels = kRegisters >= 32 ? 2 : 1;

/// to[i][j] = from[j][i], zero for j >= rows; rows <= 16, any number of columns.
inline void transpose_rows(const float* from, Index stride, Index rows, Index columns, float* to) {
  Index i = 0;
  if (rows == 16) {
    for (; i + 16 <= columns; i += 16)
      transpose(from + i, stride, to + 16 * i);
  }
  for (; i < columns; ++i) {
    for (Index j = 0; j < 16; ++j)
      to[16 * i + j] = j < rows ? from[j * stride + i] : 0.0f;
  }
}

/// One head of the attention of one sequence.
class Head {
 public:
  Head(const Attention::Args& args, Index head, std::byte* scratch)
      : args_(args), column_(head * args.head_dim), keys_(reinterpret_cast<float*>(scratch)) {
    const Index padded = (args.tokens + 15) / 16 * 16;
    scores_ = keys_ + padded * args.head_dim;
    queries_ = scores_ + padded * 16;
    for (Index t = 0; t < args.tokens; t += 16) {
      const Index rows = args.tokens - t < 16 ? args.tokens - t : 16;
      transpose_rows(args.key + t * args.qkv_stride + column_, args.qkv_stride, rows, args.head_dim,
                     keys_ + t * args.head_dim);
    }
    if (args.span > 0) load_tables(head);
  }

  void run() {
    for (Index q = 0; q < args_.queries; q += 16)
      attend(q, args_.queries - q < 16 ? args_.queries - q : 16);
  }

 private:
  /// Queries [first, first + count) of args, count <= 16.
  void attend(Index first, Index count) {
    load_queries(first, count);
    const Index last_place = args_.first_query + first + count - 1;
    const Index visible = args_.causal && last_place < args_.tokens ? last_place + 1 : args_.tokens;
    if (args_.causal) hide_from_ = args_.first_query + first + 1;
    first_place_ = args_.first_query + first;
    const Floats largest = score(visible);
    const Floats sum = exponentiate(visible, largest);
    alignas(64) float inverse_sum[16];
    store(inverse_sum, all(1.0f) / sum);
    float* dst = args_.dst + first * args_.dst_stride + column_;
    for (Index q = 0; q < count; q += kContextQueries) {
      const Index rows = count - q < kContextQueries ? count - q : kContextQueries;
      average_rows<kContextQueries>(rows, visible, scores_ + q, inverse_sum + q,
                                    dst + q * args_.dst_stride);
    }
  }

  /// Element i of a row for the query that stands i - (tokens - 1) after the key: turned round, so
  /// that the queries of a block read consecutive ones.
  void load_tables(Index head) {
    float* free = queries_ + 16 * args_.head_dim;
    const auto load_table = [&](const float* table, Index row, Index rows, float factor) {
      if (table == nullptr) return static_cast<const float*>(nullptr);
      float* turned = free;
      for (Index r = 0; r < rows; ++r)
        turn_row(table + (row + r) * (2 * args_.span - 1), factor, turned + r * table_row_);
      free += rows * table_row_;
      return static_cast<const float*>(turned);
    };
    // Like scores, for powers of two; queries have the factor themselves.
    biases_ = load_table(args_.bias, head, 1, 1.44269504f);
    relative_key_ = load_table(args_.relative_key, column_, args_.head_dim, 1.0f);
    relative_query_ =
        load_table(args_.relative_query, column_, args_.head_dim, args_.scale * 1.44269504f);
  }

  void turn_row(const float* row, float factor, float* turned) const {
    const float* middle = row + args_.span - 1;
    const Index most = args_.tokens - 1;
    for (Index i = 0; i <= 2 * most; ++i)
      turned[i] = middle[most - i] * factor;
    for (Index i = 2 * most + 1; i < 2 * most + 17; ++i)
      turned[i] = 0;  // beside the last queries
  }

  /// queries_[d][16], times what makes a score the power of two of a softmax weight.
  void load_queries(Index first, Index count) {
    transpose_rows(args_.query + first * args_.qkv_stride + column_, args_.qkv_stride, count,
                   args_.head_dim, queries_);
    const Floats factor = all(args_.scale * 1.44269504f);
    for (Index d = 0; d < args_.head_dim; ++d)
      store(queries_ + 16 * d, load(queries_ + 16 * d) * factor);
  }

  /// scores_[t][16] for all visible tokens; returns the largest of each query.
  Floats score(Index visible) {
    Floats largest = all(-__builtin_inff());
    for (Index t = 0; t < visible; t += kScoreTokens) {
      score_tile(keys_ + t / 16 * 16 * args_.head_dim + t % 16, scores_ + 16 * t);
      const Index end = visible - t < kScoreTokens ? visible : t + kScoreTokens;
      if (args_.span > 0) add_relative(t, end);
      for (Index i = t; i < end; ++i)
        largest = max(largest, shown(i, load(scores_ + 16 * i), -__builtin_inff()));
    }
    return largest;
  }

  void add_relative(Index begin, Index end) {
    for (Index t = begin; t < end; ++t) {
      const Index at = args_.tokens - 1 + first_place_ - t;
      const float* key = keys_ + t / 16 * 16 * args_.head_dim + t % 16;
      Floats sum = load(scores_ + 16 * t);
      for (Index d = 0; relative_key_ != nullptr && d < args_.head_dim; ++d)
        sum = fma(load(queries_ + 16 * d), load(relative_key_ + d * table_row_ + at), sum);
      for (Index d = 0; relative_query_ != nullptr && d < args_.head_dim; ++d)
        sum = fma(all(key[16 * d]), load(relative_query_ + d * table_row_ + at), sum);
      if (biases_ != nullptr) sum = sum + load(biases_ + at);
      store(scores_ + 16 * t, sum);
    }
  }

  void score_tile(const float* key, float* scores) const {
    Floats sums[kScoreTokens];
#pragma GCC unroll 16
    for (Index t = 0; t < kScoreTokens; ++t)
      sums[t] = zeros();
    for (Index d = 0; d < args_.head_dim; ++d) {
      const Floats query = load(queries_ + 16 * d);
#pragma GCC unroll 16
      for (Index t = 0; t < kScoreTokens; ++t)
        sums[t] = fma(all(key[16 * d + t]), query, sums[t]);
    }
#pragma GCC unroll 16
    for (Index t = 0; t < kScoreTokens; ++t)
      store(scores + 16 * t, sums[t]);
  }

  /// Softmax numerators in place of the scores; returns their sums.
  Floats exponentiate(Index visible, Floats largest) {
    Floats sum = zeros();
    for (Index t = 0; t < visible; ++t) {
      const Floats power = shown(t, exp2_vector(load(scores_ + 16 * t) - largest), 0.0f);
      store(scores_ + 16 * t, power);
      sum = sum + power;
    }
    return sum;
  }

  /// `a` for the queries that may see token t, `otherwise` for the others.
  Floats shown(Index t, Floats a, float otherwise) const {
    if (t < hide_from_) return a;
    // Query i of the block stands at hide_from_ - 1 + i.
    const Index hidden = t - hide_from_ + 1;
    const Lanes lanes = first_lanes(hidden < 16 ? hidden : 16);
    return choose(lanes, all(otherwise), a);
  }

  template <Index kRows>
  void average_rows(
      Index rows, Index visible, const float* weights, const float* inverse_sum, float* dst) const {
    if constexpr (kRows > 1) {
      if (rows < kRows) return average_rows<kRows - 1>(rows, visible, weights, inverse_sum, dst);
    }
    const float* value = args_.value + column_;
    Index d = 0;
    for (; d + 16 * kContextPanels <= args_.head_dim; d += 16 * kContextPanels) {
      average_tile<kRows, kContextPanels>(visible, weights, inverse_sum, value + d, dst + d,
                                          AllLanes{});
    }
    for (; d + 16 <= args_.head_dim; d += 16)
      average_tile<kRows, 1>(visible, weights, inverse_sum, value + d, dst + d, AllLanes{});
    if (d < args_.head_dim) {
      average_tile<kRows, 1>(visible, weights, inverse_sum, value + d, dst + d,
                             first_lanes(args_.head_dim - d));
    }
  }

  /// dst[r] = (sum over t of weights[t][r] * value[t]) * inverse_sum[r] for kPanels * 16 columns.
  template <Index kRows, Index kPanels, class AnyLanes>
  void average_tile(Index visible,
                    const float* weights,
                    const float* inverse_sum,
                    const float* value,
                    float* dst,
                    AnyLanes lanes) const {
    Floats sums[kRows][kPanels];
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
      for (Index p = 0; p < kPanels; ++p)
        sums[r][p] = zeros();
    }
    for (Index t = 0; t < visible; ++t) {
      Floats values[kPanels];
#pragma GCC unroll 2
      for (Index p = 0; p < kPanels; ++p)
        values[p] = load(value + t * args_.qkv_stride + 16 * p, lanes);
#pragma GCC unroll 8
      for (Index r = 0; r < kRows; ++r) {
        const Floats weight = all(weights[16 * t + r]);
#pragma GCC unroll 2
        for (Index p = 0; p < kPanels; ++p)
          sums[r][p] = fma(weight, values[p], sums[r][p]);
      }
    }
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
      const Floats factor = all(inverse_sum[r]);
#pragma GCC unroll 2
      for (Index p = 0; p < kPanels; ++p)
        store(dst + r * args_.dst_stride + 16 * p, sums[r][p] * factor, lanes);
    }
  }

  const Attention::Args& args_;
  Index column_;    // of this head
  float* keys_;     // [tokens/16][head_dim][16]
  float* scores_;   // [tokens][16]
  float* queries_;  // [head_dim][16]
  // Turned round, null without them; [1], [head_dim] and [head_dim] rows
  const float* biases_ = nullptr;
  const float* relative_key_ = nullptr;
  const float* relative_query_ = nullptr;
  Index table_row_ = Attention::table_row(args_.tokens);
  Index first_place_ = 0;        // of the block's first query in the sequence
  Index hide_from_ = INT64_MAX;  // first token that some query of the block may not see
};

inline void attention(const Attention::Args& args, ExecContext& context) noexcept {
  for (Index h = 0; h < args.heads; ++h)
    Head(args, h, context.scratch).run();
}

}  // namespace
}  // namespace rtai::cpu
