#include "libopt/prune/moments.h"

#include "libopt/grad/multiply.h"
#include "libopt/prune/internal/algebra.h"
#include "runtime/base/parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rtai::prune {
namespace {

/// Columns of a product that are computed as one piece. The pieces are the same whatever the number
/// of threads, and so are their sums.
constexpr Index kPanel = 256;

using FloatMatrix = Eigen::Map<RowMatrixF>;

FloatMatrix mutable_matrix(ir::Tensor& tensor) {
  return {tensor.mutable_data<float>().data(), tensor.dim(0), tensor.dim(1)};
}

/// `src` minus `shift` in every row; the shift is chosen from the first block that comes.
RowMatrixF shifted(const ir::Tensor& src, std::vector<float>& shift) {
  const auto rows = matrix_of(src);
  if (shift.empty() && src.dim(1) > 0) {
    const Eigen::VectorXf mean = rows.cast<double>().colwise().mean().cast<float>();
    shift.assign(mean.begin(), mean.end());
  }
  return rows.rowwise() - vector_of(shift).transpose();
}

void add_column_sums(const RowMatrixF& rows, std::vector<double>& sums) {
  Eigen::Map<Eigen::RowVectorXd>(sums.data(), std::ssize(sums)) +=
      rows.cast<double>().colwise().sum();
}

std::vector<double> mean_of(const std::vector<double>& sum,
                            const std::vector<float>& shift,
                            Index rows) {
  std::vector<double> mean(sum.size());
  for (std::size_t i = 0; i < sum.size(); ++i)
    mean[i] = sum[i] / static_cast<double>(rows) + shift[i];
  return mean;
}

}  // namespace

Result<Moments> Moments::make(Index k, Index n, int threads) {
  Moments moments;
  moments.threads_ = threads;
  moments.sum_x_.resize(static_cast<std::size_t>(k));
  moments.sum_t_.resize(static_cast<std::size_t>(n));
  RTAI_TRY(moments.xx_, ir::Tensor::zeros(DType::f32, {k, k}));
  RTAI_TRY(moments.xt_, ir::Tensor::zeros(DType::f32, {k, n}));
  return moments;
}

Result<void> Moments::add(const ir::Tensor& x) {
  return add(x, ir::Tensor::from<float>({x.dim(0), 0}, std::vector<float>{}));
}

Result<void> Moments::add(const ir::Tensor& x, const ir::Tensor& t) {
  if (x.dim(0) == 0) return {};
  return guarded([&]() -> Result<void> {
    const RowMatrixF block_x = shifted(x, shift_x_);
    const RowMatrixF block_t = shifted(t, shift_t_);
    add_column_sums(block_x, sum_x_);
    add_column_sums(block_t, sum_t_);
    rows_ += x.dim(0);
    FloatMatrix xx = mutable_matrix(xx_);
    FloatMatrix xt = mutable_matrix(xt_);
    const Index k = x.dim(1);
    const Index pieces = (k + kPanel - 1) / kPanel;
    return for_each_piece(pieces, threads_, [&](Index piece) {
      return guarded([&]() -> Result<void> {
        const Index begin = piece * kPanel;
        const Index size = std::min(kPanel, k - begin);
        const auto panel = block_x.middleCols(begin, size);
        grad::add_product_by_columns(panel, block_x.leftCols(begin + size),
                                     xx.block(begin, 0, size, begin + size));
        grad::add_product_by_columns(panel, block_t, xt.middleRows(begin, size));
        return {};
      });
    });
  });
}

Result<Covariance> Moments::finish() && {
  if (rows_ == 0) return Error{ErrorCode::invalid_input, "no tokens to take statistics of"};
  return guarded([&]() -> Result<Covariance> {
    const auto scale = static_cast<float>(1.0 / static_cast<double>(rows_));
    const Eigen::VectorXf shift_x =
        Eigen::Map<const Eigen::VectorXd>(sum_x_.data(), std::ssize(sum_x_)).cast<float>() * scale;
    const Eigen::VectorXf shift_t =
        Eigen::Map<const Eigen::VectorXd>(sum_t_.data(), std::ssize(sum_t_)).cast<float>() * scale;
    FloatMatrix xx = mutable_matrix(xx_);
    FloatMatrix xt = mutable_matrix(xt_);
    for (Index row = 0; row < xx.rows(); ++row) {
      xx.row(row).head(row + 1) *= scale;
      xx.row(row).head(row + 1) -= shift_x(row) * shift_x.head(row + 1).transpose();
      xx.col(row).head(row) = xx.row(row).head(row).transpose();
    }
    xt *= scale;
    xt.noalias() -= shift_x * shift_t.transpose();
    if (!std::isfinite(xx.sum()) || !std::isfinite(xt.sum()))
      return Error{ErrorCode::invalid_input, "activations hold NaN or infinity"};
    return Covariance{.rows = rows_,
                      .mean_x = mean_of(sum_x_, shift_x_, rows_),
                      .mean_t = mean_of(sum_t_, shift_t_, rows_),
                      .xx = std::move(xx_),
                      .xt = std::move(xt_)};
  });
}

Covariance restrict_to(const Covariance& covariance, std::span<const Index> columns) {
  Covariance part{.rows = covariance.rows,
                  .mean_x = {},
                  .mean_t = covariance.mean_t,
                  .xx = pick_columns(pick_rows(covariance.xx, columns), columns),
                  .xt = pick_rows(covariance.xt, columns)};
  for (const Index column : columns)
    part.mean_x.push_back(covariance.mean_x[static_cast<std::size_t>(column)]);
  return part;
}

Result<Covariance> map_targets(const Covariance& covariance, const Layer& layer) {
  return guarded([&]() -> Result<Covariance> {
    Covariance mapped = covariance;
    const auto weight = matrix_of(layer.weight);
    const Eigen::Map<const Eigen::VectorXd> mean(covariance.mean_t.data(),
                                                 std::ssize(covariance.mean_t));
    const Eigen::VectorXd mapped_mean =
        product(widened(weight), mean) + vector_of(layer.bias).cast<double>();
    mapped.mean_t.assign(mapped_mean.begin(), mapped_mean.end());
    mapped.xt = to_tensor(matrix_of(covariance.xt) * weight.transpose());
    return mapped;
  });
}

Result<RidgeFit> solve_ridge(const Covariance& covariance,
                             const ir::Tensor& towards,
                             double ridge) {
  return guarded([&]() -> Result<RidgeFit> {
    const auto xx = matrix_of(covariance.xx);
    const auto start = matrix_of(towards);
    const double unit = mean_diagonal(xx);
    for (std::optional<double> tried = ridge; tried; tried = next_ridge(*tried)) {
      const double lambda = *tried * unit + 1e-8;
      RowMatrixF right = matrix_of(covariance.xt);
      right += static_cast<float>(lambda) * start.transpose();
      const auto solution = solve_damped(widened(xx), lambda, widened(right));
      if (!solution) continue;
      Layer layer{.weight = to_tensor(solution->transpose()), .bias = {}};
      const Eigen::Map<const Eigen::VectorXd> mean_x(covariance.mean_x.data(), covariance.k());
      const Matrix through = product(widened(matrix_of(layer.weight)), mean_x);
      for (Index i = 0; i < through.rows(); ++i) {
        layer.bias.push_back(
            static_cast<float>(covariance.mean_t[static_cast<std::size_t>(i)] - through(i, 0)));
      }
      return RidgeFit{std::move(layer), *tried};
    }
    return Error{ErrorCode::invalid_input,
                 fmt::format("the statistics of {} tokens are singular", covariance.rows)};
  });
}

Result<RidgeFit> solve_scales(const Covariance& covariance,
                              const Layer& layer,
                              Index width,
                              double ridge) {
  constexpr double kMostFactor = 10;
  return guarded([&]() -> Result<RidgeFit> {
    const auto weight = matrix_of(layer.weight);
    const Matrix w = widened(weight);
    const Eigen::Map<const Eigen::VectorXd> mean_x(covariance.mean_x.data(), covariance.k());
    const Eigen::Map<const Eigen::VectorXd> mean_t(covariance.mean_t.data(), w.rows());
    const Eigen::VectorXd goal = mean_t - vector_of(layer.bias).cast<double>();
    // Of columns, without subtracting means: the bias stays.
    const Matrix between = product_by_columns(w, w).cwiseProduct(
        widened(matrix_of(covariance.xx)) + product(mean_x, mean_x.transpose()));
    const Eigen::VectorXd towards =
        (widened(matrix_of(covariance.xt)) + product(mean_x, goal.transpose()))
            .cwiseProduct(w.transpose())
            .rowwise()
            .sum();
    // Of groups of columns.
    const Index groups = w.cols() / width;
    Matrix a(groups, groups);
    Eigen::VectorXd r(groups);
    for (Index g = 0; g < groups; ++g) {
      for (Index h = 0; h < groups; ++h)
        a(g, h) = between.block(g * width, h * width, width, width).sum();
      r(g) = towards.segment(g * width, width).sum();
    }
    r -= a.rowwise().sum();  // what factors of 1 leave over
    for (std::optional<double> tried = ridge; tried; tried = next_ridge(*tried)) {
      const auto change = solve_damped(a, *tried * mean_diagonal(a) + 1e-12, r);
      if (!change) continue;
      const Eigen::VectorXd factors = change->col(0).array() + 1;
      if (factors.cwiseAbs().maxCoeff() > kMostFactor) return RidgeFit{layer, *tried};
      RowMatrixF scaled = weight;
      for (Index column = 0; column < scaled.cols(); ++column)
        scaled.col(column) *= static_cast<float>(factors(column / width));
      return RidgeFit{{.weight = to_tensor(scaled), .bias = layer.bias}, *tried};
    }
    return Error{ErrorCode::invalid_input,
                 fmt::format("the statistics of {} tokens are singular", covariance.rows)};
  });
}

}  // namespace rtai::prune
