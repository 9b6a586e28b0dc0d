// One operator on given tensors, for the tests of the reference interpreter.
#pragma once

#include "libopt/reference/interpret.h"

#include <catch2/catch.hpp>

#include <optional>

namespace rtai::reference {

inline ir::Tensor f32(ir::Dims dims, std::vector<float> values) {
  return ir::Tensor::from<float>(std::move(dims), values);
}
inline ir::Tensor i64(ir::Dims dims, std::vector<std::int64_t> values) {
  return ir::Tensor::from<std::int64_t>(std::move(dims), values);
}
inline ir::Tensor i32(ir::Dims dims, std::vector<std::int32_t> values) {
  return ir::Tensor::from<std::int32_t>(std::move(dims), values);
}
inline ir::Tensor i8(ir::Dims dims, std::vector<std::int8_t> values) {
  return ir::Tensor::from<std::int8_t>(std::move(dims), values);
}
inline ir::Tensor u8(ir::Dims dims, std::vector<std::uint8_t> values) {
  return ir::Tensor::from<std::uint8_t>(std::move(dims), values);
}
inline ir::Tensor bools(ir::Dims dims, std::vector<int> values) {
  return ir::Tensor::from<std::int32_t>(std::move(dims),
                                        std::vector<std::int32_t>(values.begin(), values.end()))
      .converted(DType::boolean);
}

/// All results of `op`; an input of nullopt is not given.
inline Result<std::vector<ir::Tensor>> apply_all(
    ir::Op op,
    const std::vector<std::optional<ir::Tensor>>& inputs,
    ir::Attributes attributes = {},
    std::size_t outputs = 1,
    const Run& run = {}) {
  ir::Graph graph;
  std::vector<ir::ValueId> ids;
  for (const std::optional<ir::Tensor>& input : inputs) {
    ids.push_back(input ? graph.add_constant("", *input) : ir::kNoValue);
  }
  const ir::NodeId node = graph.append({.op = op,
                                        .inputs = ids,
                                        .outputs = std::vector<ir::Type>(outputs),
                                        .attributes = std::move(attributes),
                                        .name = "node"});
  const std::span<const ir::ValueId> results = graph.node(node).outputs();
  graph.set_outputs({results.begin(), results.end()});
  return interpret(graph, {}, run);
}

/// The only result of an operator that must succeed.
inline ir::Tensor apply(ir::Op op,
                        const std::vector<std::optional<ir::Tensor>>& inputs,
                        ir::Attributes attributes = {},
                        const Run& run = {}) {
  const auto results = apply_all(op, inputs, std::move(attributes), 1, run);
  INFO((results ? "" : results.error().message()));
  REQUIRE(results);
  return results->at(0);
}

/// The message of an operator that must be refused as invalid.
inline std::string refusal(ir::Op op,
                           const std::vector<std::optional<ir::Tensor>>& inputs,
                           ir::Attributes attributes = {},
                           const Run& run = {}) {
  const auto results = apply_all(op, inputs, std::move(attributes), 1, run);
  REQUIRE_FALSE(results);
  CHECK(results.error().code() == ErrorCode::invalid_input);
  return results.error().message();
}

inline void check_close(const ir::Tensor& actual, const ir::Tensor& expected, double tolerance) {
  REQUIRE(actual.dtype() == expected.dtype());
  REQUIRE(actual.dims() == expected.dims());
  for (Index i = 0; i < actual.elements(); ++i) {
    INFO("element " << i);
    CHECK(actual.value(i) == Approx(expected.value(i)).margin(tolerance));
  }
}

}  // namespace rtai::reference
