// The door to Eigen: tensors and spans seen as its matrices, its failures as errors.
#pragma once

#include "libopt/ir/tensor.h"

#include <Eigen/Core>

#include <new>
#include <span>

namespace rtai::prune {

using RowMatrixF = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// A matrix f32[rows, columns] as Eigen sees it.
inline Eigen::Map<const RowMatrixF> matrix_of(const ir::Tensor& tensor) {
  return {tensor.data<float>().data(), tensor.dim(0), tensor.dim(1)};
}

inline Eigen::Map<const Eigen::VectorXf> vector_of(std::span<const float> values) {
  return {values.data(), std::ssize(values)};
}

template <class Derived>
ir::Tensor to_tensor(const Eigen::MatrixBase<Derived>& matrix) {
  ir::Tensor tensor = ir::Tensor::from<float>(
      {matrix.rows(), matrix.cols()},
      std::vector<float>(static_cast<std::size_t>(matrix.rows() * matrix.cols())));
  Eigen::Map<RowMatrixF>(tensor.mutable_data<float>().data(), matrix.rows(), matrix.cols()) =
      matrix.template cast<float>();
  return tensor;
}

/// Runs `work`, which may run out of memory inside Eigen.
template <class Work>
auto guarded(Work&& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory for the statistics of a module"};
  }
}

}  // namespace rtai::prune
