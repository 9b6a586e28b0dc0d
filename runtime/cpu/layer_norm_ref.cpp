#include "runtime/cpu/quantize_rows_ref.h"
#include "runtime/kernels/layer_norm.h"

#include <algorithm>
#include <cmath>

namespace rtai::cpu {
namespace {

constexpr Index kPartColumns = LayerNorm::kPartColumns;

/// (term(0) + term(1)) + (term(2) + term(3))
template <class Term>
float add_four(const Term& term) {
  return (term(0) + term(1)) + (term(2) + term(3));
}

/// Over i, then over q, then over t: see LayerNorm. `term(c)`: what column c of the part adds.
template <class Term>
float sum_part(const Term& term) {
  return add_four([&](Index t) {
    return add_four(
        [&](Index q) { return add_four([&](Index i) { return term(16 * q + 4 * t + i); }); });
  });
}

struct RowPart {
  float sum;
  float squares;
  float columns;

  float mean() const { return sum / columns; }
};

RowPart part_of(const float* src, Index first, Index hidden) {
  const Index columns = std::min(kPartColumns, hidden - first);
  RowPart part{.sum = 0, .squares = 0, .columns = static_cast<float>(columns)};
  part.sum = sum_part([&](Index c) { return c < columns ? src[first + c] : 0.0f; });
  part.squares = sum_part([&](Index c) {
    const float distance = c < columns ? src[first + c] - part.mean() : 0.0f;
    return distance * distance;
  });
  return part;
}

void run(const LayerNorm::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    float* dst = args.dst + r * args.dst_stride;
    const auto count = static_cast<float>(args.hidden);
    float sum = 0;
    for (Index first = 0; first < args.hidden; first += kPartColumns)
      sum += part_of(src, first, args.hidden).sum;
    const float mean = sum / count;
    float squares = 0;
    for (Index first = 0; first < args.hidden; first += kPartColumns) {
      const RowPart part = part_of(src, first, args.hidden);
      squares += std::fma((part.mean() - mean) * (part.mean() - mean), part.columns, part.squares);
    }
    const float inverse = 1.0f / std::sqrt(squares / count + args.epsilon);
    float absmax = 0;
    for (Index i = 0; i < args.hidden; ++i) {
      dst[i] = std::fma((src[i] - mean) * inverse, args.weight[i], args.bias[i]);
      absmax = larger_magnitude(absmax, dst[i]);
    }
    if (args.quantized.data != nullptr) quantize_row(dst, args.hidden, absmax, args.quantized, r);
  }
}

}  // namespace

extern constinit const Kernel<LayerNorm> layer_norm_ref{"layer_norm_ref", Target::ref, &run};

}  // namespace rtai::cpu
