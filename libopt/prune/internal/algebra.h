// Products and solutions in double, compiled once: as expressions each use of them would be
// compiled anew, a second or two at a time.
#pragma once

#include "libopt/prune/internal/eigen.h"

#include <algorithm>
#include <optional>

namespace rtai::prune {

using Matrix = Eigen::MatrixXd;
using AnyMatrix = Eigen::Ref<const Matrix>;  // or a block of one, or a vector

/// The same in double.
Matrix widened(const Eigen::Ref<const RowMatrixF>& matrix);

/// a b. Shapes: a [m, k], b [k, n].
Matrix product(const AnyMatrix& a, const AnyMatrix& b);

/// a^T b. Shapes: a [k, m], b [k, n].
Matrix product_by_columns(const AnyMatrix& a, const AnyMatrix& b);

/// dst -= a b.
void subtract_product(const AnyMatrix& a, const AnyMatrix& b, Matrix& dst);

/// dst -= a^T b.
void subtract_product_by_columns(const AnyMatrix& a, const AnyMatrix& b, Matrix& dst);

/// U with U^T U = matrix, or nothing if it is not positive definite.
std::optional<Matrix> upper_factor(Matrix matrix);

/// matrix^-1 right; `matrix` is symmetric and positive definite.
Matrix solve(const AnyMatrix& matrix, const AnyMatrix& right);

/// (matrix + lambda I)^-1 right, or nothing if the damped matrix is not positive definite.
std::optional<Matrix> solve_damped(Matrix matrix, double lambda, Matrix right);

template <class Any>
double mean_diagonal(const Any& matrix) {
  return matrix.rows() == 0 ? 0 : matrix.diagonal().template cast<double>().mean();
}

/// The ridge to try after one that left the statistics singular; nothing after a large one.
inline std::optional<double> next_ridge(double ridge) {
  constexpr double kLeast = 1e-6;
  constexpr double kMost = 1e3;
  if (ridge >= kMost) return std::nullopt;
  return std::max(kLeast, 10 * ridge);
}

}  // namespace rtai::prune
