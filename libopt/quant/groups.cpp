#include "libopt/quant/groups.h"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>

namespace rtai::quant {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr float kLargestInteger = 7;
constexpr int kMostTimes = 18;
constexpr float kSmallestWeight =
    kLargestInteger * kMostTimes * 0x1p-120f;  // a scale is a normal float
// Shares of the largest magnitude of a group to give to 7.
constexpr float kClips[] = {1, 0.95f, 0.9f, 0.85f, 0.8f, 0.75f, 0.7f, 0.6f, 0.5f};
// The multiplier of the group with the largest steps: the smaller, the coarser are the others'.
constexpr int kLeastTopTimes = 10;
// Of the mean of the second moments: rows that were sampled say little of most directions. On two
// MiniLM-L6 the logits' error is least with 0.2 of 0.01, 0.05, 0.2, and as large with 0.5.
constexpr float kRidge = 0.2f;

float to_integer(float value, float factor) {
  constexpr float kRounder = 0x1.8p23f;  // leaves no bits for fractions
  return std::clamp(value * factor, -kLargestInteger, kLargestInteger) + kRounder - kRounder;
}

/// Weights of one row that share a multiplier, and what an error in each counts.
struct Group {
  std::span<const float> weights;
  std::span<const float> importance;
};

/// Several sums, so that the loop needs no more than vectors.
float error_of(const Group& group, float step) {
  constexpr std::size_t kLanes = 16;
  const float factor = 1 / step;
  const auto weighed = [&](std::size_t i) {
    const float difference = group.weights[i] - to_integer(group.weights[i], factor) * step;
    return group.importance[i] * difference * difference;
  };
  std::array<float, kLanes> sums{};
  const std::size_t count = group.weights.size();
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    for (std::size_t lane = 0; lane < kLanes; ++lane)
      sums[lane] += weighed(i + lane);
  float error = std::accumulate(sums.begin(), sums.end(), 0.0f);
  for (; i < count; ++i)
    error += weighed(i);
  return error;
}

float largest_of(std::span<const float> values) {
  float largest = 0;
  for (const float value : values)
    largest = std::max(largest, std::fabs(value));
  return largest;
}

/// The step that a group would take alone.
float best_step(const Group& group) {
  const float whole = largest_of(group.weights) / kLargestInteger;
  float best = whole;
  if (whole < kSmallestWeight) return best;
  float least = INFINITY;
  for (const float clip : kClips) {
    const float error = error_of(group, clip * whole);
    if (!(error < least)) continue;
    least = error;
    best = clip * whole;
  }
  return best;
}

struct Times {
  int times = 1;
  float error = 0;
};

/// The best multiplier near what the group would take alone.
Times best_times(const Group& group, float step, float scale) {
  const int near = static_cast<int>(std::lround(std::min<float>(step / scale, kMostTimes)));
  Times best{.times = 0, .error = INFINITY};
  for (int times = std::max(near - 1, 1); times <= std::min(near + 1, kMostTimes); ++times) {
    const float error = error_of(group, static_cast<float>(times) * scale);
    if (best.times == 0 || error < best.error) best = {times, error};
  }
  return best;
}

/// A row's scale and the multipliers of its groups.
struct RowSteps {
  float scale = 1;
  std::vector<int> times;
};

class RowChooser {
 public:
  RowChooser(std::span<const float> row, std::span<const float> importance, std::size_t group) {
    for (std::size_t begin = 0; begin < row.size(); begin += group) {
      const std::size_t count = std::min(group, row.size() - begin);
      groups_.push_back({row.subspan(begin, count), importance.subspan(begin, count)});
      steps_.push_back(best_step(groups_.back()));
    }
  }

  RowSteps choose() const {
    const float largest = *std::ranges::max_element(steps_);
    RowSteps best{.scale = 1, .times = std::vector<int>(groups_.size(), 1)};
    if (largest < kSmallestWeight) return best;
    float least = INFINITY;
    const auto consider = [&](float scale) {
      RowSteps found{.scale = scale, .times = {}};
      float error = 0;
      for (std::size_t g = 0; g < groups_.size(); ++g) {
        const Times times = best_times(groups_[g], steps_[g], scale);
        found.times.push_back(times.times);
        error += times.error;
      }
      if (!(error < least)) return;
      least = error;
      best = std::move(found);
    };
    for (int top = kMostTimes; top >= kLeastTopTimes; --top)
      consider(largest / static_cast<float>(top));
    consider(fitted_scale(best));
    return best;
  }

 private:
  /// Least squares, the integers as they are.
  float fitted_scale(const RowSteps& steps) const {
    double product = 0;
    double square = 0;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      const auto times = static_cast<float>(steps.times[g]);
      const float factor = 1 / (times * steps.scale);
      for (std::size_t i = 0; i < groups_[g].weights.size(); ++i) {
        const float weight = groups_[g].weights[i];
        const float integer = to_integer(weight, factor) * times;
        product += double{groups_[g].importance[i]} * integer * weight;
        square += double{groups_[g].importance[i]} * integer * integer;
      }
    }
    const auto scale = static_cast<float>(product / square);
    return std::isnormal(scale) ? scale : steps.scale;
  }

  std::vector<Group> groups_;
  std::vector<float> steps_;
};

Result<void> expect_finite(const ir::Tensor& matrix) {
  const std::span<const float> values = matrix.data<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i])) continue;
    return Error{ErrorCode::invalid_input,
                 fmt::format("row {} holds {}", static_cast<Index>(i) / matrix.dim(1), values[i])};
  }
  return {};
}

/// Divides a row by what its integers have in common; the scale makes up for it. What is left of
/// each multiplier and of each integer in 4 bits still divides the other's way.
void reduce(std::span<std::int8_t> row, float& scale) {
  int common = 0;
  for (const std::int8_t integer : row)
    common = std::gcd(common, int{integer});
  if (common <= 1) return;
  for (std::int8_t& integer : row)
    integer = static_cast<std::int8_t>(integer / common);
  scale *= static_cast<float>(common);
}

/// R with H^-1 = R^T R, upper triangular: what an error in column i asks of the later ones.
Matrix shares_of_errors(const ir::Tensor& rows) {
  const Eigen::Map<const Matrix> x(rows.data<float>().data(), rows.dim(0), rows.dim(1));
  Matrix moments = x.transpose() * x;
  const float mean = moments.diagonal().mean();
  moments.diagonal().array() += mean > 0 ? kRidge * mean : 1.0f;
  // The factor from the last column on: reversed, that of the reversed matrix.
  const Eigen::LLT<Matrix> factor(moments.reverse());
  const Matrix upper = Matrix(factor.matrixL()).reverse();
  return upper.triangularView<Eigen::Upper>().solve(Matrix::Identity(upper.rows(), upper.cols()));
}

}  // namespace

Result<QuantizedMatrix> quantize_groups(const ir::Tensor& matrix,
                                        Index group,
                                        const std::vector<float>& importance) {
  RTAI_TRY_VOID(expect_finite(matrix));
  RTAI_TRY(ir::Tensor integers, ir::Tensor::zeros(DType::i8, matrix.dims()));
  RTAI_TRY(ir::Tensor scales, ir::Tensor::zeros(DType::f32, {matrix.dim(0)}));
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const auto width = static_cast<std::size_t>(group);
  const std::vector<float> counts =
      importance.empty() ? std::vector<float>(columns, 1.0f) : importance;
  const std::span<float> dst_scales = scales.mutable_data<float>();
  for (std::size_t r = 0; r < dst_scales.size(); ++r) {
    const std::span<const float> row = matrix.data<float>().subspan(r * columns, columns);
    const std::span<std::int8_t> dst =
        integers.mutable_data<std::int8_t>().subspan(r * columns, columns);
    const RowSteps steps = RowChooser(row, counts, width).choose();
    for (std::size_t i = 0; i < columns; ++i) {
      const auto times = static_cast<float>(steps.times[i / width]);
      dst[i] = static_cast<std::int8_t>(to_integer(row[i], 1 / (times * steps.scale)) * times);
    }
    dst_scales[r] = steps.scale;
    reduce(dst, dst_scales[r]);
  }
  return QuantizedMatrix{std::move(integers), std::move(scales)};
}

Result<QuantizedMatrix> quantize_groups_in_turn(const ir::Tensor& matrix,
                                                Index group,
                                                const ir::Tensor& rows) {
  RTAI_TRY_VOID(expect_finite(matrix));
  RTAI_TRY(ir::Tensor integers, ir::Tensor::zeros(DType::i8, matrix.dims()));
  RTAI_TRY(ir::Tensor scales, ir::Tensor::zeros(DType::f32, {matrix.dim(0)}));
  const Index n = matrix.dim(0);
  const Index k = matrix.dim(1);
  const auto columns = static_cast<std::size_t>(k);
  const Matrix shares = shares_of_errors(rows);
  // What an error in a column costs once the later ones have done what they can.
  std::vector<float> importance(columns);
  for (Index i = 0; i < k; ++i)
    importance[static_cast<std::size_t>(i)] = 1 / (shares(i, i) * shares(i, i));

  Matrix left = Eigen::Map<const Matrix>(matrix.data<float>().data(), n, k);
  const std::span<float> dst_scales = scales.mutable_data<float>();
  for (Index r = 0; r < n; ++r) {
    const std::span<const float> row(left.row(r).data(), columns);
    dst_scales[static_cast<std::size_t>(r)] =
        RowChooser(row, importance, static_cast<std::size_t>(group)).choose().scale;
  }
  std::int8_t* dst = integers.mutable_data<std::int8_t>().data();
  for (Index begin = 0; begin < k; begin += group) {
    const Index count = std::min(group, k - begin);
    Matrix errors(n, count);
    for (Index r = 0; r < n; ++r) {
      float* row = left.row(r).data() + begin;
      const Group weights{
          {row, static_cast<std::size_t>(count)},
          std::span(importance)
              .subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(count))};
      const float scale = dst_scales[static_cast<std::size_t>(r)];
      const auto times = static_cast<float>(best_times(weights, best_step(weights), scale).times);
      const float step = times * scale;
      for (Index i = 0; i < count; ++i) {
        const float integer = to_integer(row[i], 1 / step);
        dst[r * k + begin + i] = static_cast<std::int8_t>(integer * times);
        const float error = (row[i] - integer * step) / shares(begin + i, begin + i);
        errors(r, i) = error;
        const float* share = shares.row(begin + i).data() + begin;
        for (Index j = i + 1; j < count; ++j)
          row[j] -= error * share[j];
      }
    }
    const Index rest = k - begin - count;
    left.rightCols(rest).noalias() -= errors * shares.block(begin, begin + count, count, rest);
  }
  for (std::size_t r = 0; r < dst_scales.size(); ++r)
    reduce({dst + r * columns, columns}, dst_scales[r]);
  return QuantizedMatrix{std::move(integers), std::move(scales)};
}

}  // namespace rtai::quant
