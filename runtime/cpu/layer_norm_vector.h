// LayerNorm in vectors.
#pragma once

#include "runtime/cpu/quantize_rows_vector.h"
#include "runtime/kernels/layer_norm.h"

namespace rtai::cpu {
namespace {

inline void normalize_row(const LayerNorm::Args& args, Index row) {
  const float* src = args.src + row * args.src_stride;
  float* dst = args.dst + row * args.dst_stride;
  const auto count = static_cast<float>(args.hidden);
  const auto value_at = [src](Index i, auto lanes) { return load(src + i, lanes); };
  const Floats mean = all(sum_vectors(args.hidden, value_at) / count);
  const auto square_at = [&](Index i, auto lanes) {
    const Floats centred = keep(load(src + i, lanes) - mean, lanes);
    return centred * centred;
  };
  const float variance = sum_vectors(args.hidden, square_at) / count;
  const Floats inverse = all(1.0f / __builtin_sqrtf(variance + args.epsilon));

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

void layer_norm(const LayerNorm::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r)
    normalize_row(args, r);
}

}  // namespace
}  // namespace rtai::cpu
