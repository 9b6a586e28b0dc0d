#pragma once

#include "runtime/base/function.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai {

/// dst[r, j] = f(sum_i src[r, i] * weight[j, i] + bias[j]) + residual[r, j]
///
/// The sum runs over i in ascending order in f32, so that a row's result does not depend on the
/// rows around it.
///
/// Weights of 16 bits are widened to f32, exactly, when they are loaded; or, on AMX, multiplied by
/// two numbers of 16 bits whose sum is within 2^-16 of the source. Only there, and only for them,
/// results differ from those of other targets in their last bits.
///
/// Shapes: src [rows, k] with row stride; weight as panels [columns/16][k][16], or weight_bf16 as
/// panels [columns/16][k/2][16][2], k padded with zeros; bias [columns]; dst, residual [rows,
/// columns] with row strides. Scratch: scratch_bytes for weights of 16 bits.
/// Planned: rows, columns, k >= 1; weight 64-byte aligned; dst may be residual.
struct LinearF32 {
  static constexpr std::string_view kName = "linear_f32";
  struct Args {
    const float* src;
    Index src_stride;
    const float* weight;
    const float* bias;      // null: zeros
    const float* residual;  // null: none
    Index residual_stride;
    float* dst;
    Index dst_stride;
    float*
        absmax;  // [rows], raised to the largest |dst| of the row, NaN above all; null: not wanted
    Function function;
    Index rows;
    Index columns;
    Index k;
    const std::uint16_t* weight_bf16 = nullptr;  // if given, instead of weight
    QuantizedRows quantized = {};                // as in LinearI8
    const void* next_weight = nullptr;           // likewise
  };

  /// Source rows that are taken apart at a time.
  static constexpr Index kScratchRows = 64;

  /// Bytes of scratch for weights of 16 bits.
  static constexpr std::size_t scratch_bytes(Index k) {
    return static_cast<std::size_t>(kScratchRows * 2 * ((k + 31) / 32 * 32)) *
           sizeof(std::uint16_t);
  }
};

}  // namespace rtai
