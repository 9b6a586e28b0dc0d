// QuantizeRows in vectors; also what other kernels quantize their rows with.
#pragma once

#include "runtime/cpu/vector.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai::cpu {
namespace {

inline float row_absmax(const float* src, Index columns) {
  Ints largest = all_ints(0);
  for_vectors(columns, [&](Index i, auto lanes) {
    largest = larger_magnitudes(largest, load(src + i, lanes));
  });
  return largest_magnitude(largest);
}

inline void quantize_row(
    const float* src, Index columns, float absmax, const QuantizedRows& dst, Index row) {
  float scale = dst.fixed_scale;
  float factor = scale > 0.0f ? 1.0f / scale : 0.0f;
  if (scale <= 0.0f) {
    const bool is_zero = absmax < kSmallestAbsmax;
    scale = is_zero ? 1.0f : absmax / 127.0f;
    factor = is_zero ? 0.0f : 127.0f / absmax;
  }
  dst.scale[row] = scale;
  std::uint8_t* bytes = dst.data + row * dst.stride;
  for_vectors(columns, [&](Index i, auto lanes) {
    const Floats scaled = load(src + i, lanes) * all(factor);
    const Floats bounded = min(max(scaled, all(-127.0f)), all(127.0f));
    store_bytes(bytes + i, to_ints(bounded), dst.flip);
  });
  for (Index i = (columns + 15) / 16 * 16; i % 64 != 0; i += 16)
    store_bytes(bytes + i, all_ints(0), dst.flip);
}

inline void quantize_rows(const QuantizeRows::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    float absmax = 0.0f;
    if (args.absmax != nullptr) {
      absmax = args.absmax[r];
    } else if (args.dst.fixed_scale <= 0.0f) {
      absmax = row_absmax(src, args.columns);
    }
    quantize_row(src, args.columns, absmax, args.dst, r);
  }
}

}  // namespace
}  // namespace rtai::cpu
