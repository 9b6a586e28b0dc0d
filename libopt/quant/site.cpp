#include "libopt/quant/site.h"

#include "libopt/quant/groups.h"

#include <Eigen/Core>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>

namespace rtai::quant {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Vector = Eigen::RowVectorXf;

constexpr float kLargest = 127;
constexpr float kSmallest = kLargest * 0x1p-120f;  // a scale is a normal float
constexpr double kWeightClips[] = {0.97, 0.94, 0.9, 0.85, 0.8};
constexpr double kSourceClips[] = {1,    0.95, 0.9, 0.85, 0.8, 0.75, 0.7,
                                   0.65, 0.6,  0.5, 0.4,  0.3, 0.2};
constexpr double kSmoothings[] = {0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9};

Eigen::Map<const Matrix> matrix_of(const ir::Tensor& tensor) {
  return {tensor.data<float>().data(), tensor.dim(0), tensor.dim(1)};
}

/// To even, as nearbyint does, which is a call for every number on the oldest CPUs of x86-64:
/// adding 1.5 * 2^23 leaves no bits for fractions. (These loops were a quarter of quantizing's
/// time.)
float rounded(float value, float factor) {
  constexpr float kRounder = 0x1.8p23f;
  return std::clamp(value * factor, -kLargest, kLargest) + kRounder - kRounder;
}

/// Sum of squared errors of a row in steps of `scale`, each weighed by the importance of its
/// column. Several sums, so that the loop needs no more than vectors.
double row_error(std::span<const float> row, std::span<const float> importance, float scale) {
  constexpr std::size_t kLanes = 16;
  const float factor = 1 / scale;
  const auto weighed = [&](std::size_t i) {
    const float difference = row[i] - rounded(row[i], factor) * scale;
    return importance[i] * difference * difference;
  };
  std::array<float, kLanes> sums{};
  std::size_t i = 0;
  for (; i + kLanes <= row.size(); i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      sums[lane] += weighed(i + lane);
  double error = std::accumulate(sums.begin(), sums.end(), 0.0);
  for (; i < row.size(); ++i)
    error += weighed(i);
  return error;
}

/// The best share of the largest magnitude to give to 127.
float clipped_scale(std::span<const float> row,
                    const std::vector<float>& importance,
                    float largest) {
  float best = largest / kLargest;
  if (importance.empty()) return best;
  double least = row_error(row, importance, best);
  for (const double clip : kWeightClips) {
    const float scale = static_cast<float>(clip) * largest / kLargest;
    const double error = row_error(row, importance, scale);
    if (error >= least) continue;
    least = error;
    best = scale;
  }
  return best;
}

std::vector<float> mean_squares(const Matrix& rows) {
  const Vector means = rows.array().square().colwise().sum() /
                       static_cast<float>(std::max<Eigen::Index>(rows.rows(), 1));
  return {means.data(), means.data() + means.size()};
}

ir::Tensor to_tensor(const Matrix& matrix) {
  return ir::Tensor::from<float>({matrix.rows(), matrix.cols()},
                                 std::span(matrix.data(), static_cast<std::size_t>(matrix.size())));
}

/// Real values of integers.
ir::Tensor restored(const QuantizedMatrix& matrix) {
  const Eigen::Map<
      const Eigen::Matrix<std::int8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>
      integers(matrix.integers.data<std::int8_t>().data(), matrix.integers.dim(0),
               matrix.integers.dim(1));
  const Eigen::Map<const Eigen::VectorXf> scales(matrix.scales.data<float>().data(),
                                                 matrix.scales.dim(0));
  return to_tensor(scales.asDiagonal() * integers.cast<float>());
}

/// What the results miss beside a constant, which becomes `shift`.
double relative_error(const Matrix& exact, const Matrix& approximate, std::vector<float>& shift) {
  Matrix error = exact - approximate;
  if (error.rows() > 0) {
    const Vector mean = error.colwise().mean();
    error.rowwise() -= mean;
    shift.assign(mean.data(), mean.data() + mean.size());
  }
  const double energy = exact.cast<double>().squaredNorm();
  return energy > 0 ? error.cast<double>().squaredNorm() / energy : 0;
}

/// Columns of the source times this, columns of the weight by it.
Vector smoothing_factors(const Matrix& weight, const std::vector<float>& absmax, double alpha) {
  const Vector weight_max = weight.cwiseAbs().colwise().maxCoeff();
  const float floor = std::max(weight_max.maxCoeff() * 1e-4f, 1e-30f);
  Vector factors = Vector::Ones(weight.cols());
  double mean_log = 0;
  for (Eigen::Index j = 0; j < factors.size(); ++j) {
    const float source_max = absmax[static_cast<std::size_t>(j)];
    if (source_max > 0) {
      factors[j] = std::pow(std::max(weight_max[j], floor), static_cast<float>(1 - alpha)) /
                   std::pow(source_max, static_cast<float>(alpha));
    }
    mean_log += std::log(factors[j]);
  }
  // Only their ratios matter; around one they keep every number in range.
  factors *= static_cast<float>(std::exp(-mean_log / static_cast<double>(factors.size())));
  return factors;
}

float largest_of(const std::vector<float>& absmax, const Vector& factors) {
  float largest = 0;
  for (std::size_t j = 0; j < absmax.size(); ++j)
    largest = std::max(largest, absmax[j] * factors[static_cast<Eigen::Index>(j)]);
  return largest;
}

Matrix in_steps(const Matrix& rows, float scale) {
  const float factor = 1 / scale;
  return rows.unaryExpr([=](float value) { return rounded(value, factor) * scale; });
}

/// The share of `largest` to give to 127, by the error of the rows alone: what an error in a column
/// counts in the results is the square of that column of the weight.
double mse_clip(const Matrix& rows, const Matrix& weight, float largest) {
  const Vector counts = weight.array().square().colwise().sum();
  const auto columns = static_cast<std::size_t>(rows.cols());
  double best = 1;
  double least = INFINITY;
  for (const double clip : kSourceClips) {
    const float scale = static_cast<float>(clip) * largest / kLargest;
    double sum = 0;
    for (Eigen::Index r = 0; r < rows.rows(); ++r)
      sum += row_error({rows.row(r).data(), columns}, {counts.data(), columns}, scale);
    if (!(sum < least)) continue;
    least = sum;
    best = clip;
  }
  return best;
}

double clip_of(const Calibration& calibration,
               const Matrix& rows,
               const Matrix& weight,
               float largest) {
  const std::span<const float> values(rows.data(), static_cast<std::size_t>(rows.size()));
  switch (calibration.method) {
    case Calibration::Method::minmax:
      return 1;
    case Calibration::Method::percentile:
      return percentile_clip(values, calibration.percentile, largest);
    case Calibration::Method::entropy:
      return entropy_clip(values, largest);
    case Calibration::Method::mse:
      break;
  }
  return mse_clip(rows, weight, largest);
}

}  // namespace

Result<QuantizedMatrix> quantize_matrix(const ir::Tensor& matrix,
                                        const std::vector<float>& importance) {
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const std::span<const float> values = matrix.data<float>();
  RTAI_TRY(ir::Tensor integers, ir::Tensor::zeros(DType::i8, matrix.dims()));
  RTAI_TRY(ir::Tensor scales, ir::Tensor::zeros(DType::f32, {matrix.dim(0)}));
  const std::span<std::int8_t> dst = integers.mutable_data<std::int8_t>();
  const std::span<float> dst_scales = scales.mutable_data<float>();
  for (std::size_t row = 0; row < dst_scales.size(); ++row) {
    const std::span<const float> src = values.subspan(row * columns, columns);
    float largest = 0;
    for (const float value : src) {
      if (!std::isfinite(value)) {
        return Error{ErrorCode::invalid_input, fmt::format("row {} holds {}", row, value)};
      }
      largest = std::max(largest, std::fabs(value));
    }
    const bool is_zero = largest < kSmallest;
    dst_scales[row] = is_zero ? 1.0f : clipped_scale(src, importance, largest);
    const float factor = is_zero ? 0.0f : 1 / dst_scales[row];
    for (std::size_t i = 0; i < columns; ++i)
      dst[row * columns + i] = static_cast<std::int8_t>(rounded(src[i], factor));
  }
  return QuantizedMatrix{std::move(integers), std::move(scales)};
}

namespace {

/// A layer whose source and weight share their columns' ranges by `alpha`.
struct Smoothed {
  double alpha;
  Vector factors;  // [k], of the source
  Matrix rows;     // of the source
  Matrix weight;
};

Smoothed smoothed(const ir::Tensor& weight, const SourceRows& source, double alpha) {
  const Eigen::Map<const Matrix> w = matrix_of(weight);
  const Vector factors =
      alpha > 0 ? smoothing_factors(w, source.absmax, alpha) : Vector(Vector::Ones(w.cols()));
  return {.alpha = alpha,
          .factors = factors,
          .rows = matrix_of(source.rows) * factors.asDiagonal(),
          .weight = w * factors.cwiseInverse().asDiagonal()};
}

/// A site with the integers of the weight, whatever becomes of its source.
Result<QuantizedSite> weight_of(const Smoothed& layer, Index group) {
  QuantizedSite site;
  site.smoothing = layer.alpha;
  if (layer.alpha > 0)
    site.src_factor.assign(layer.factors.data(), layer.factors.data() + layer.factors.size());
  const ir::Tensor weight = to_tensor(layer.weight);
  const std::vector<float> importance = mean_squares(layer.rows);
  RTAI_TRY(site.weight, group > 0 ? quantize_groups(weight, group, importance)
                                  : quantize_matrix(weight, importance));
  return site;
}

Matrix in_steps_of_rows(const Matrix& rows) {
  Matrix steps = rows;
  for (Eigen::Index r = 0; r < steps.rows(); ++r) {
    const float largest = steps.row(r).cwiseAbs().maxCoeff();
    if (largest >= kSmallest) steps.row(r) = in_steps(steps.row(r), largest / kLargest);
  }
  return steps;
}

/// The source as the form reads it.
Matrix read_by(const QuantizedSite& site, const Matrix& rows) {
  return site.src_scale > 0 ? in_steps(rows, site.src_scale) : in_steps_of_rows(rows);
}

/// Rounds the weight of a form again, in turn, and keeps that if it leaves a smaller error.
/// in_turn: what was rounded so already, by smoothing; forms that are smoothed alike share it.
Result<void> round_in_turn(const ir::Tensor& weight,
                           const SourceRows& source,
                           const ir::Tensor& exact,
                           const Product& product,
                           Index group,
                           std::map<double, QuantizedMatrix>& in_turn,
                           QuantizedSite& best) {
  const Smoothed layer = smoothed(weight, source, best.smoothing);
  auto found = in_turn.find(best.smoothing);
  if (found == in_turn.end()) {
    RTAI_TRY(QuantizedMatrix matrix,
             quantize_groups_in_turn(to_tensor(layer.weight), group, to_tensor(layer.rows)));
    found = in_turn.emplace(best.smoothing, std::move(matrix)).first;
  }
  QuantizedSite site = best;
  site.weight = found->second;
  RTAI_TRY(const ir::Tensor results,
           product(to_tensor(read_by(site, layer.rows)), restored(site.weight)));
  site.error = relative_error(matrix_of(exact), matrix_of(results), site.bias_shift);
  if (site.error < best.error) best = std::move(site);
  return {};
}

/// Keeps the better of two in `best`.
void keep(QuantizedSite&& site, std::optional<QuantizedSite>& best) {
  if (!best || site.error < best->error) best = std::move(site);
}

}  // namespace

Result<QuantizedForms> quantize_linear(const ir::Tensor& weight,
                                       const SourceRows& source,
                                       WantedForms wanted,
                                       const Product& product,
                                       Index group,
                                       const Calibration& calibration) {
  RTAI_TRY(const ir::Tensor exact, product(source.rows, weight));
  QuantizedForms best;
  for (const double alpha : kSmoothings) {
    const Smoothed layer = smoothed(weight, source, alpha);
    RTAI_TRY(const QuantizedSite site, weight_of(layer, group));
    // Both forms have the same weight: one product of the rows of one, then of the other.
    Matrix steps(0, layer.rows.cols());
    const auto append = [&](const Matrix& rows) {
      steps.conservativeResize(steps.rows() + rows.rows(), Eigen::NoChange);
      steps.bottomRows(rows.rows()) = rows;
    };
    QuantizedSite dynamic = site;
    QuantizedSite fixed = site;
    if (wanted != WantedForms::fixed) append(in_steps_of_rows(layer.rows));
    if (wanted != WantedForms::dynamic) {
      // Of zeros alone any scale will do.
      const float largest = std::max(largest_of(source.absmax, layer.factors), kSmallest);
      fixed.clip = clip_of(calibration, layer.rows, layer.weight, largest);
      fixed.src_scale = std::max(static_cast<float>(fixed.clip) * largest, kSmallest) / kLargest;
      append(in_steps(layer.rows, fixed.src_scale));
    }
    RTAI_TRY(const ir::Tensor results, product(to_tensor(steps), restored(site.weight)));
    const Index count = layer.rows.rows();
    if (wanted != WantedForms::fixed) {
      dynamic.error =
          relative_error(matrix_of(exact), matrix_of(results).topRows(count), dynamic.bias_shift);
      keep(std::move(dynamic), best.dynamic);
    }
    if (wanted != WantedForms::dynamic) {
      fixed.error =
          relative_error(matrix_of(exact), matrix_of(results).bottomRows(count), fixed.bias_shift);
      keep(std::move(fixed), best.fixed);
    }
  }
  std::map<double, QuantizedMatrix> in_turn;
  for (std::optional<QuantizedSite>* form : {&best.dynamic, &best.fixed}) {
    if (group == 0 || !*form) continue;
    RTAI_TRY_VOID(round_in_turn(weight, source, exact, product, group, in_turn, **form));
  }
  return best;
}

}  // namespace rtai::quant
