#pragma once

#include "runtime/kernels/kernel.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai {

/// dst[r, i] = (src[r, i] - mean_r) / sqrt(var_r + epsilon) * weight[i] + bias[i]
///
/// mean_r, var_r: over hidden (population variance), in f32 and in the same order on all targets:
/// each part of 64 columns knows its sum s_p and the squared distances d_p from its own mean.
///   mean = (s_0 + s_1 + ..) / hidden
///   var = (.. + fma((s_p / n_p - mean)^2, n_p, d_p) + ..) / hidden    n_p: columns of the part
/// Parts are added one after the other. Within a part, what belongs to columns 16 q + 4 t + i is
/// added over i, then over q, then over t: each counts to four and is added as (0 + 1) + (2 + 3).
/// Columns that are not there count as zeros.
///
/// The result is also quantized as QuantizeRows does it where quantized.data is not null.
/// Shapes: src, dst [rows, hidden] with row strides; weight, bias [hidden]. dst may be src.
/// Planned: hidden >= 1.
/// Tolerance against the reference: none.
/// Source: Ba et al. 2016, arXiv:1607.06450; ONNX LayerNormalization, opset 17. Parts: Chan, Golub,
/// LeVeque 1979, Updating formulae and a pairwise algorithm for computing sample variances.
struct LayerNorm {
  static constexpr std::string_view kName = "layer_norm";
  static constexpr Index kPartColumns = 64;
  struct Args {
    const float* src;
    Index src_stride;
    const float* weight;
    const float* bias;
    float* dst;
    Index dst_stride;
    QuantizedRows quantized;
    Index rows;
    Index hidden;
    float epsilon;
  };
};

}  // namespace rtai
