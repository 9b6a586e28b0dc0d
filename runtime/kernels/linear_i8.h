#pragma once

#include "runtime/base/function.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai {

/// dst[r, j] = f(sum_i src[r, i] * weight[j, i] * src_scale[r] * weight_scale[j] + bias[j])
///             + residual[r, j]
///
/// The sum over i is exact in int32. It becomes float(sum) * src_scale[r], and one fused
/// multiply-add brings in weight_scale and bias.
///
/// Shapes: src as QuantizedRows [rows, k]; weight as panels [columns/16][k/4][16][4] (64 bytes hold
/// 4 consecutive k of 16 columns, both padded with zeros); weight_scale, bias, weight_sum
/// [columns]; dst, residual [rows, columns] with row strides.
/// Planned: rows, columns, k >= 1, k <= 2^17 (no overflow); weight 64-byte aligned and readable for
/// 1 KiB beyond its end; src rows as QuantizedRows says; dst may be residual.
/// If `quantized` is given, dst is null and results are stored there, as QuantizeRows does it at
/// its fixed_scale. Scales and zeros behind the last column are left to the caller, who may have
/// another call compute other columns; up to the next multiple of 16, zeros may be written.
/// gelu is that of GeluOfI8. Tolerance against the reference: none.
struct LinearI8 {
  static constexpr std::string_view kName = "linear_i8";
  struct Args {
    const std::uint8_t* src;
    Index src_stride;  // bytes
    const float* src_scale;
    std::uint8_t flip;  // as in QuantizedRows; what source_flip says for the kernel's target
    const std::int8_t* weight;
    const float* weight_scale;
    const float* bias;               // null: zeros
    const std::int32_t* weight_sum;  // of each column over k: what a flipped source adds 128 times
    const float* residual;           // null: none
    Index residual_stride;
    float* dst;
    Index dst_stride;
    float*
        absmax;  // [rows], raised to the largest |dst| of the row, NaN above all; null: not wanted
    Function function;
    Index rows;
    Index columns;
    Index k;
    QuantizedRows quantized = {};       // of results; data null: floats in dst
    const void* next_weight = nullptr;  // what the thread multiplies after these: may be fetched
  };
};

/// The QuantizedRows::flip that linear_i8 of this target wants its source in.
constexpr std::uint8_t source_flip(Target target) {
  return target == Target::avx512_vnni || target == Target::avxvnni ? 0x80 : 0x00;
}

}  // namespace rtai
