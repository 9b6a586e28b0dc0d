// One row of QuantizeRows, for the reference kernels that quantize.
#pragma once

#include "runtime/base/checked.h"
#include "runtime/cpu/scalar_functions.h"
#include "runtime/kernels/quantize_rows.h"

#include <algorithm>
#include <cmath>

namespace rtai::cpu {

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
  for (Index i = 0; i < columns; ++i) {
    // Clamped before the conversion, which is undefined for what does not fit; NaN becomes -127.
    const float scaled = std::min(127.0f, std::max(-127.0f, src[i] * factor));
    const auto integer = static_cast<int>(std::nearbyint(scaled));
    bytes[i] = static_cast<std::uint8_t>(integer) ^ dst.flip;
  }
  std::fill(bytes + columns, bytes + round_up<Index>(columns, 64), dst.flip);
}

}  // namespace rtai::cpu
