// Integers for one linear layer and what it reads, chosen by the error they make in its results.
#pragma once

#include "libopt/ir/tensor.h"
#include "libopt/quant/calibration.h"
#include "runtime/base/result.h"

#include <functional>
#include <optional>
#include <vector>

namespace rtai::quant {

/// A matrix as symmetric integers in +-127 with a scale for each row.
struct QuantizedMatrix {
  ir::Tensor integers;  // i8[rows, columns]
  ir::Tensor scales;    // f32[rows]
};

/// Rounds to the nearest integer. `importance` [columns], if not empty, is what the square of an
/// error in each column counts: then rows are clipped where that makes the sum smaller (large
/// values saturate, the others get finer steps).
///
/// Errors: invalid_input if a row holds NaN or infinity. A row of zeros gets scale 1.
Result<QuantizedMatrix> quantize_matrix(const ir::Tensor& matrix,
                                        const std::vector<float>& importance = {});

/// Rows that a linear layer read, and the extent of all others.
struct SourceRows {
  ir::Tensor rows;            // f32[sampled, k]
  std::vector<float> absmax;  // [k], over every row
};

/// A linear layer in integers.
struct QuantizedSite {
  QuantizedMatrix weight;
  float src_scale = 0;            // of all rows; 0: each row has its own (dynamic)
  std::vector<float> src_factor;  // [k], of the columns of the source before they are quantized;
                                  // empty: all one
  std::vector<float> bias_shift;  // [n], added to the bias: the mean error of the sampled results
  double error = 0;               // sum of squared errors of the results over that of the results
  double smoothing = 0;           // alpha of src_factor
  double clip = 1;                // src_scale as a share of what the largest value would need
};

/// What a source can be quantized with.
enum class WantedForms : std::uint8_t {
  dynamic,  // a scale for each row, when the layer runs
  fixed,    // one scale for all rows, by a method of calibration
  both,
};
struct QuantizedForms {
  std::optional<QuantizedSite> dynamic;
  std::optional<QuantizedSite> fixed;
};

/// rows [m, k] times weight [n, k] transposed: f32[m, n]
using Product = std::function<Result<ir::Tensor>(const ir::Tensor& rows, const ir::Tensor& weight)>;

/// The best integers of each wanted form. Columns with large values hand a part of their range to
/// the weights,
///
///   factor_j = absmax(w_j)^(1 - alpha) / absmax(x_j)^alpha,
///
/// with the alpha that leaves the smallest error in the results; its mean goes into the bias.
/// `group` > 0: weights of 4 bits with a multiplier for each so many (groups.h), rounded in turn
/// where that leaves a smaller error.
///
/// Shapes: weight f32[n, k], source.rows f32[m, k].
/// Errors: invalid_input if the weight holds NaN or infinity; those of `product`.
/// Source: smoothing, Xiao et al. 2022, arXiv:2211.10438; bias correction, Nagel et al. 2019,
/// arXiv:1906.04721.
Result<QuantizedForms> quantize_linear(const ir::Tensor& weight,
                                       const SourceRows& source,
                                       WantedForms wanted,
                                       const Product& product,
                                       Index group = 0,
                                       const Calibration& calibration = {});

}  // namespace rtai::quant
