// The operators of the transformer level with their derivatives; libopt/ir/ops.h says what each
// means.
#pragma once

#include "libopt/grad/multiply.h"
#include "libopt/ir/ops.h"

#include <span>
#include <vector>

namespace rtai::grad {

using Rows = Eigen::Map<const RowMatrix>;
using MutableRows = Eigen::Map<RowMatrix>;

/// A matrix f32[rows, columns] or a vector f32[columns] as Eigen sees it.
inline Rows rows_of(const ir::Tensor& tensor) {
  return {tensor.data<float>().data(), tensor.rank() > 1 ? tensor.dim(0) : 1, tensor.dim(-1)};
}
inline MutableRows rows_of(ir::Tensor& tensor) {
  return {tensor.mutable_data<float>().data(), tensor.rank() > 1 ? tensor.dim(0) : 1,
          tensor.dim(-1)};
}

/// A node in one run.
struct Call {
  const ir::Node& node;
  std::vector<const ir::Tensor*> inputs;  // null: not given
  std::span<const Index> offsets;         // [sequences + 1]

  bool has(std::size_t i) const { return i < inputs.size() && inputs[i] != nullptr; }
  const ir::Tensor& operator[](std::size_t i) const { return *inputs[i]; }
};

/// Derivatives by the inputs of a node; null where nobody asks.
using Slots = std::span<ir::Tensor* const>;

struct Operator {
  ir::Op op;
  Result<ir::Tensor> (*forward)(const Call& call);
  /// Adds to each slot what the derivative `d_dst` by the node's result says about its input.
  void (*backward)(const Call& call, const ir::Tensor& d_dst, Slots slots);
};

/// Null where there is no derivative.
const Operator* find_operator(ir::Op op);

// One for each operator, in the files named after their families.
extern const Operator kLinear;
extern const Operator kLayerNorm;
extern const Operator kL2Normalize;
extern const Operator kAttention;
extern const Operator kActivation;
extern const Operator kAdd;
extern const Operator kEmbedding;
extern const Operator kFirstToken;
extern const Operator kMeanPool;
extern const Operator kColumns;

}  // namespace rtai::grad
