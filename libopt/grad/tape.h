// Running a graph so that derivatives can flow back through it.
#pragma once

#include "libopt/ir/graph.h"

#include <map>
#include <span>
#include <vector>

namespace rtai::grad {

/// Derivatives of one number by values of a graph, each with the dimensions of its value.
using Gradients = std::map<ir::ValueId, ir::Tensor>;

/// One run of a transformer-level graph with float weights: every value, and the way back.
class Tape {
 public:
  /// `inputs` and `offsets` as for Evaluator::run. The graph must outlive the tape, unchanged.
  ///
  /// Errors: unsupported for int8 weights, int8 attention and ONNX operators; invalid_input for an
  /// id, segment or position outside its table; device if memory runs out.
  static Result<Tape> record(const ir::Graph& graph,
                             std::span<const ir::Tensor> inputs,
                             std::span<const Index> offsets);

  const ir::Tensor& value(ir::ValueId id) const { return values_[static_cast<std::size_t>(id)]; }

  /// Derivatives by the values of `wanted` (constants, inputs or results of nodes) of a number
  /// whose direct derivatives by some values are `given`. What the number does not depend on gets
  /// zeros.
  ///
  /// Errors: device if memory runs out.
  Result<Gradients> back(const Gradients& given, std::span<const ir::ValueId> wanted) const;

 private:
  explicit Tape(const ir::Graph& graph) : graph_(&graph), values_(graph.value_count()) {}

  const ir::Graph* graph_;
  std::vector<ir::Tensor> values_;  // by value
  std::vector<Index> offsets_;
};

}  // namespace rtai::grad
