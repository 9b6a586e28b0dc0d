#pragma once

#include "runtime/kernels/kernel.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai {

/// dst[r, i] = (src[r, i] - mean_r) / sqrt(var_r + epsilon) * weight[i] + bias[i]
///
/// mean_r, var_r: over hidden, accumulated in f32 (population variance, from the differences to the
/// mean). The result is also quantized as QuantizeRows does it where quantized.data is not null.
/// Shapes: src, dst [rows, hidden] with row strides; weight, bias [hidden]. dst may be src.
/// Planned: hidden >= 1.
/// Source: Ba et al. 2016, arXiv:1607.06450; ONNX LayerNormalization, opset 17.
struct LayerNorm {
  static constexpr std::string_view kName = "layer_norm";
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
