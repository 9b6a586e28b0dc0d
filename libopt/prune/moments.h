// Second moments of activations that stream by, and least squares on them.
#pragma once

#include "libopt/ir/tensor.h"
#include "libopt/prune/modules.h"

#include <span>
#include <vector>

namespace rtai::prune {

/// Means and centred second moments of rows x [k] and targets t [n] seen together.
struct Covariance {
  Index rows = 0;
  std::vector<double> mean_x;  // [k]
  std::vector<double> mean_t;  // [n]
  ir::Tensor xx;               // f32[k, k], E (x - mean_x) (x - mean_x)^T
  ir::Tensor xt;               // f32[k, n], E (x - mean_x) (t - mean_t)^T

  Index k() const { return std::ssize(mean_x); }
};

/// Collects a covariance from blocks of rows, in memory that does not grow with their number.
///
/// Rows are taken relative to the mean of the first block, so that large means cancel nothing;
/// products are summed in float within a block and between blocks, means in double. The result
/// does not depend on the number of threads.
class Moments {
 public:
  /// Errors: device if there is not enough memory.
  static Result<Moments> make(Index k, Index n, int threads);

  /// x: f32[rows, k], t: f32[rows, n].
  Result<void> add(const ir::Tensor& x, const ir::Tensor& t);
  /// For n = 0.
  Result<void> add(const ir::Tensor& x);

  /// Errors: invalid_input if no row was added, or if a row held NaN or infinity.
  Result<Covariance> finish() &&;

 private:
  Moments() = default;

  int threads_ = 1;
  Index rows_ = 0;
  std::vector<float> shift_x_, shift_t_;  // means of the first block
  std::vector<double> sum_x_, sum_t_;     // of shifted rows
  ir::Tensor xx_, xt_;                    // sums of products of shifted rows; xx_: lower triangle
};

/// Keeps only the entries of x that stand in `columns`.
Covariance restrict_to(const Covariance& covariance, std::span<const Index> columns);

/// The covariance with W t + b in the place of t.
Result<Covariance> map_targets(const Covariance& covariance, const Layer& layer);

struct RidgeFit {
  Layer layer;
  double ridge = 0;  // larger than asked for where the statistics were singular
};

/// The linear layer t ~ W x + b that minimizes
///
///   E |t - W x - b|^2 + lambda |W - towards|^2,   lambda = ridge * mean(diag(xx))
///
/// Shapes: towards [n, k]. The bias is what the means say.
/// Where that is singular the ridge is raised until it is not.
///
/// Errors: invalid_input if not even a large ridge leaves a solution.
Result<RidgeFit> solve_ridge(const Covariance& covariance, const ir::Tensor& towards, double ridge);

/// The layer t ~ W diag(m) x + b with one factor m for each `width` columns that minimizes
///
///   E |t - W diag(m) x - b|^2 + lambda |m - 1|^2,   lambda = ridge * mean of the diagonal
///
/// and keeps b. Where a factor would leave [-10, 10], the layer stays as it is.
///
/// Errors: invalid_input if not even a large ridge leaves a solution.
/// Source: mask tuning, Kwon et al. 2022, arXiv:2204.09656, section 4.3.
Result<RidgeFit> solve_scales(const Covariance& covariance,
                              const Layer& layer,
                              Index width,
                              double ridge);

}  // namespace rtai::prune
