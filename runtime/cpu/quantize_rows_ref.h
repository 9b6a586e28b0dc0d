// One row of QuantizeRows, for the reference kernels that quantize.
#pragma once

#include "runtime/base/checked.h"
#include "runtime/cpu/scalar_functions.h"
#include "runtime/kernels/quantize_rows.h"

#include <algorithm>
#include <cmath>

namespace rtai::cpu {

struct Quantization {
  float scale;
  float factor;
};

inline Quantization dynamic_quantization(float absmax) {
  if (absmax < kSmallestAbsmax) return {1.0f, 0.0f};
  return {absmax / 127.0f, 127.0f / absmax};
}

/// Clamped before the conversion, which is undefined for what does not fit; NaN becomes -127.
inline std::int8_t to_integer(float scaled) {
  return static_cast<std::int8_t>(std::nearbyint(std::min(127.0f, std::max(-127.0f, scaled))));
}

inline void quantize_row(
    const float* src, Index columns, float absmax, const QuantizedRows& dst, Index row) {
  const auto value = [&](Index i) {
    return dst.column_factor != nullptr ? src[i] * dst.column_factor[i] : src[i];
  };
  if (dst.column_factor != nullptr && dst.fixed_scale <= 0.0f) {
    absmax = 0.0f;
    for (Index i = 0; i < columns; ++i)
      absmax = std::isnan(value(i)) ? NAN : std::max(absmax, std::fabs(value(i)));
  }
  const Quantization q = dst.fixed_scale > 0.0f
                             ? Quantization{dst.fixed_scale, 1.0f / dst.fixed_scale}
                             : dynamic_quantization(absmax);
  dst.scale[row] = q.scale;
  std::uint8_t* bytes = dst.data + row * dst.stride;
  for (Index i = 0; i < columns; ++i) {
    bytes[i] = static_cast<std::uint8_t>(to_integer(value(i) * q.factor)) ^ dst.flip;
  }
  std::fill(bytes + columns, bytes + round_up<Index>(columns, 64), dst.flip);
}

/// One result of a kernel that quantizes what it makes at dst.fixed_scale.
inline void store_integer(const QuantizedRows& dst, Index row, Index column, float value) {
  if (dst.column_factor != nullptr) value *= dst.column_factor[column];
  dst.data[row * dst.stride + column] =
      static_cast<std::uint8_t>(to_integer(value * (1.0f / dst.fixed_scale))) ^ dst.flip;
}

}  // namespace rtai::cpu
