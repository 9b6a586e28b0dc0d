#pragma once

#include "runtime/base/function.h"
#include "runtime/kernels/kernel.h"

namespace rtai {

/// dst[r, j] = f(sum_i src[r, i] * weight[j, i] + bias[j]) + residual[r, j]
///
/// The sum runs over i in ascending order in f32, so that a row's result does not depend on the
/// rows around it.
///
/// Shapes: src [rows, k] with row stride; weight as panels [columns/16][k][16]; bias [columns];
/// dst, residual [rows, columns] with row strides.
/// Planned: k >= 1; weight 64-byte aligned; dst may be residual.
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
    float* absmax;  // [rows], raised to the largest |dst| of the row, NaN above all; null: not wanted
    Function function;
    Index rows;
    Index columns;
    Index k;
  };
};

}  // namespace rtai
