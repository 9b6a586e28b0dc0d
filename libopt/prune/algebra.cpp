#include "libopt/prune/internal/algebra.h"

#include <Eigen/Cholesky>

namespace rtai::prune {

Matrix widened(const Eigen::Ref<const RowMatrixF>& matrix) {
  return matrix.cast<double>();
}

Matrix product(const AnyMatrix& a, const AnyMatrix& b) {
  return a * b;
}

Matrix product_by_columns(const AnyMatrix& a, const AnyMatrix& b) {
  return a.transpose() * b;
}

void subtract_product(const AnyMatrix& a, const AnyMatrix& b, Matrix& dst) {
  dst.noalias() -= a * b;
}

void subtract_product_by_columns(const AnyMatrix& a, const AnyMatrix& b, Matrix& dst) {
  dst.noalias() -= a.transpose() * b;
}

std::optional<Matrix> upper_factor(Matrix matrix) {
  const Eigen::LLT<Eigen::Ref<Matrix>> cholesky(matrix);
  if (cholesky.info() != Eigen::Success) return std::nullopt;
  Matrix upper = cholesky.matrixU();
  if (!upper.allFinite()) return std::nullopt;
  return upper;
}

Matrix solve(const AnyMatrix& matrix, const AnyMatrix& right) {
  Matrix factors = matrix;
  Matrix solution = right;
  Eigen::LLT<Eigen::Ref<Matrix>>(factors).solveInPlace(solution);
  return solution;
}

std::optional<Matrix> solve_damped(Matrix matrix, double lambda, Matrix right) {
  matrix.diagonal().array() += lambda;
  const Eigen::LLT<Eigen::Ref<Matrix>> cholesky(matrix);
  if (cholesky.info() != Eigen::Success) return std::nullopt;
  cholesky.solveInPlace(right);
  if (!right.allFinite()) return std::nullopt;
  return right;
}

}  // namespace rtai::prune
