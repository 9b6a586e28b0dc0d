// The graph while it is imported, with what is known of its values.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/onnx/internal/facts.h"
#include "runtime/base/log.h"

#include <string>
#include <vector>

namespace rtai::onnx_io {

using Values = std::vector<ir::ValueId>;

class Builder {
 public:
  explicit Builder(Log& log) : log_(log) {}

  ir::Graph& graph() { return graph_; }
  Log& log() { return log_; }

  ir::ValueId input(std::string name, ir::Type type);
  ir::ValueId constant(ir::Tensor tensor, std::string name = {});
  /// A constant list of integers, as axes and shapes are.
  ir::ValueId list(const std::vector<std::int64_t>& values);
  ir::ValueId scalar(std::int64_t value);
  /// A constant scalar of a floating-point type.
  ir::ValueId real(float value, DType dtype);

  /// Appends a node with one output.
  ///
  /// Errors: invalid_input if the operator takes fewer or more inputs, or a required one is
  /// missing.
  Result<ir::ValueId> add(ir::Op op, Values inputs, ir::Attributes attributes = {});
  /// Appends a node with `outputs` outputs. Errors: as add.
  Result<Values> add_many(ir::Op op, Values inputs, ir::Attributes attributes, std::size_t outputs);

  const Fact& fact(ir::ValueId id) const { return facts_[static_cast<std::size_t>(id)]; }
  const ir::Tensor* constant_data(ir::ValueId id) const { return graph_.constant(id); }

  /// The source node whose name the appended nodes get.
  void set_source(std::string name) { source_ = std::move(name); }

 private:
  void note(ir::ValueId id, const Fact& fact);

  ir::Graph graph_;
  Log& log_;
  std::vector<Fact> facts_;
  std::string source_;
};

}  // namespace rtai::onnx_io
