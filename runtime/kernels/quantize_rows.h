#pragma once

#include "runtime/kernels/kernel.h"

namespace rtai {

/// Where a quantized copy of some rows goes.
///
/// Integers are symmetric, in [-127, 127]. `flip` says how the byte stores them: 0 as signed, 0x80
/// as integer + 128, which is what vpdpbusd takes. Bytes from `columns` to the next multiple of 64
/// hold zero (that is, `flip`), so that kernels may read whole 64-byte blocks.
struct QuantizedRows {
  std::uint8_t* data = nullptr;  // [rows, stride]
  Index stride = 0;              // bytes, a multiple of 64
  float* scale = nullptr;        // [rows]: real value = integer * scale
  float fixed_scale = 0;         // > 0: the scale of every row (static); 0: absmax / 127 (dynamic)
  std::uint8_t flip = 0;
  const float* column_factor = nullptr;  // [columns]: multiplied to the columns first; null: none
};

/// Rows whose largest magnitude is below this count as zeros: their scale would not be a normal
/// float.
inline constexpr float kSmallestAbsmax = 0x1p-119f;

/// dst[r, i] = clamp(rint(x[r, i] * factor_r), -127, 127), ties to even; x = src * column_factor
///
/// Dynamic: scale_r = absmax_r / 127 and factor_r = 127 / absmax_r; rows below kSmallestAbsmax have
/// scale 1 and factor 0. A row with a NaN or an infinity has a scale that is not finite, so that
/// nothing computed from it looks like a result. Static: scale_r = fixed_scale and factor_r =
/// 1 / fixed_scale. What is not a number, or times the factor is none, gives an unspecified integer
/// in range.
/// Shapes: src [rows, columns] with row stride src_stride.
/// Planned: columns >= 1; dst.stride >= round_up(columns, 64).
/// Tolerance against the reference: none; the same bytes, where they are specified.
struct QuantizeRows {
  static constexpr std::string_view kName = "quantize_rows";
  struct Args {
    const float* src;
    Index src_stride;
    const float*
        absmax;  // [rows] of src, if the producer knows it; else null. Without column_factor
    QuantizedRows dst;
    Index rows;
    Index columns;
  };
};

}  // namespace rtai
