// LayerNorm in vectors.
#pragma once

#include "runtime/cpu/quantize_rows_vector.h"
#include "runtime/kernels/layer_norm.h"

namespace rtai::cpu {
namespace {

constexpr Index kPartColumns = LayerNorm::kPartColumns;

/// Sixteen of a row's columns, or how far they are from `mean`, squared.
struct ColumnTerm {
  const float* src;
  template <class AnyLanes>
  Floats operator()(Index i, AnyLanes lanes) const {
    return load(src + i, lanes);
  }
};
struct SquareTerm {
  const float* src;
  Floats mean;
  template <class AnyLanes>
  Floats operator()(Index i, AnyLanes lanes) const {
    const Floats distance = keep(load(src + i, lanes) - mean, lanes);
    return distance * distance;
  }
};

/// Of a part of a row, which begins at column `first`: lane 4 t + q is the sum of terms over i.
template <class Term>
[[gnu::always_inline]] inline Floats sum_whole_part(Index first, const Term& term) {
  const AllLanes lanes;
  return add_pairs(add_pairs(term(first, lanes), term(first + 16, lanes)),
                   add_pairs(term(first + 32, lanes), term(first + 48, lanes)));
}
/// The same of `columns`, at least one. Out of line, as only the last part of a row can be cut.
template <class Term>
[[gnu::noinline]] Floats sum_cut_part(Index first, Index columns, const Term& term) {
  Floats q[4] = {zeros(), zeros(), zeros(), zeros()};
  for_vectors(columns, [&](Index i, auto lanes) { q[i / 16] = term(first + i, lanes); });
  return add_pairs(add_pairs(q[0], q[1]), add_pairs(q[2], q[3]));
}

/// Four parts of a row, as LayerNorm has them, or what is left of it.
struct FourParts {
  static constexpr Index kColumns = 4 * kPartColumns;

  void compute(const float* src, Index first, Index hidden) {
    const Index left = hidden - first;
    if (left >= kColumns) return compute_whole<4>(src + first);
    if (left == 3 * kPartColumns) return compute_whole<3>(src + first);
    if (left == 2 * kPartColumns) return compute_whole<2>(src + first);
    if (left == kPartColumns) return compute_whole<1>(src + first);
    compute_last(src, first, hidden);
  }

  alignas(16) float sums[4];
  alignas(16) float squares[4];  // distances from their own means
  float means[4];
  float columns[4];
  Index count;

 private:
  template <Index kCount>
  void compute_whole(const float* src) {
    count = kCount;
    store(
        sums, [&](auto p) __attribute__((always_inline)) {
          if constexpr (p < kCount)
            return sum_whole_part(p * kPartColumns, ColumnTerm{src});
          else
            return zeros();
        });
    unroll<kCount>([&](auto p) {
      columns[p] = kPartColumns;
      means[p] = sums[p] * (1.0f / kPartColumns);
    });
    store(
        squares, [&](auto p) __attribute__((always_inline)) {
          if constexpr (p < kCount)
            return sum_whole_part(p * kPartColumns, SquareTerm{src, all(means[p])});
          else
            return zeros();
        });
  }

  void compute_last(const float* src, Index first, Index hidden) {
    count = (hidden - first + kPartColumns - 1) / kPartColumns;
    for (Index p = 0; p < count; ++p) {
      const Index left = hidden - first - p * kPartColumns;
      columns[p] = static_cast<float>(left < kPartColumns ? left : kPartColumns);
    }
    const auto sum_part = [&](Index p, const auto& term) {
      if (p >= count) return zeros();
      const Index begin = first + p * kPartColumns;
      if (begin + kPartColumns <= hidden) return sum_whole_part(begin, term);
      return sum_cut_part(begin, hidden - begin, term);
    };
    store(sums, [&](auto p) { return sum_part(p, ColumnTerm{src}); });
    for (Index p = 0; p < count; ++p)
      means[p] = sums[p] / columns[p];
    store(squares, [&](auto p) {
      return sum_part(p, SquareTerm{src, all(p < count ? means[p] : 0)});
    });
  }

  /// Sums over q and t of what `part(p)` has summed over i.
  template <class Part>
  [[gnu::always_inline]] static void store(float (&to)[4], const Part& part) {
    store_sums_of_fours(to, add_pairs(add_pairs(part(Constant<0>{}), part(Constant<1>{})),
                                      add_pairs(part(Constant<2>{}), part(Constant<3>{}))));
  }
};

/// (x - mean) * inverse is x, normalized.
struct RowNorm {
  float mean;
  float inverse;
};

inline RowNorm norm_of(const float* src, Index hidden, float epsilon) {
  const auto count = static_cast<float>(hidden);
  FourParts kept[8];
  const bool are_kept = hidden <= 8 * FourParts::kColumns;  // wider rows are read twice
  float sum = 0;
  for (Index i = 0; i * FourParts::kColumns < hidden; ++i) {
    FourParts& parts = kept[are_kept ? i : 0];
    parts.compute(src, i * FourParts::kColumns, hidden);
    for (Index p = 0; p < parts.count; ++p)
      sum += parts.sums[p];
  }
  const float mean = sum / count;
  float squares = 0;
  for (Index i = 0; i * FourParts::kColumns < hidden; ++i) {
    FourParts& parts = kept[are_kept ? i : 0];
    if (!are_kept) parts.compute(src, i * FourParts::kColumns, hidden);
    for (Index p = 0; p < parts.count; ++p) {
      const float distance = parts.means[p] - mean;
      squares += __builtin_fmaf(distance * distance, parts.columns[p], parts.squares[p]);
    }
  }
  return {mean, 1.0f / __builtin_sqrtf(squares / count + epsilon)};
}

inline void normalize_row(const LayerNorm::Args& args, Index row) {
  const float* src = args.src + row * args.src_stride;
  float* dst = args.dst + row * args.dst_stride;
  const RowNorm norm = norm_of(src, args.hidden, args.epsilon);
  const Floats mean = all(norm.mean);
  const Floats inverse = all(norm.inverse);
  Ints largest = all_ints(0);
  for_vectors(args.hidden, [&](Index i, auto lanes) {
    const Floats normal = (load(src + i, lanes) - mean) * inverse;
    const Floats value = fma(normal, load(args.weight + i, lanes), load(args.bias + i, lanes));
    store(dst + i, value, lanes);
    largest = larger_magnitudes(largest, keep(value, lanes));
  });
  if (args.quantized.data == nullptr) return;
  quantize_row(dst, args.hidden, largest_magnitude(largest), args.quantized, row);
}

inline void layer_norm(const LayerNorm::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r)
    normalize_row(args, r);
}

}  // namespace
}  // namespace rtai::cpu
