// Solving with a damped symmetric positive definite matrix, in double.
#pragma once

#include "libopt/prune/internal/eigen.h"

#include <algorithm>
#include <optional>

namespace rtai::prune {

template <class Matrix>
double mean_diagonal(const Matrix& matrix) {
  return matrix.rows() == 0 ? 0 : matrix.diagonal().template cast<double>().mean();
}

/// (matrix + lambda I)^-1 right, or nothing if the damped matrix is not positive definite.
template <class Matrix, class Right>
std::optional<Eigen::MatrixXd> solve_spd(const Matrix& matrix, double lambda, const Right& right) {
  Eigen::MatrixXd damped = matrix.template cast<double>();
  damped.diagonal().array() += lambda;
  const Eigen::LLT<Eigen::Ref<Eigen::MatrixXd>> cholesky(damped);
  if (cholesky.info() != Eigen::Success) return std::nullopt;
  Eigen::MatrixXd solution = right.template cast<double>();
  cholesky.solveInPlace(solution);
  if (!solution.allFinite()) return std::nullopt;
  return solution;
}

/// The ridge to try after one that left the statistics singular; nothing after a large one.
inline std::optional<double> next_ridge(double ridge) {
  constexpr double kLeast = 1e-6;
  constexpr double kMost = 1e3;
  if (ridge >= kMost) return std::nullopt;
  return std::max(kLeast, 10 * ridge);
}

}  // namespace rtai::prune
