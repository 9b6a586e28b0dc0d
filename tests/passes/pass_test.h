// One pass on a graph given as text.
#pragma once

#include "libopt/ir/text.h"
#include "libopt/pass/pipeline.h"
#include "libopt/reference/interpret.h"
#include "passes/passes.h"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace rtai::passes {

inline ir::Graph parsed(std::string_view text) {
  auto graph = ir::parse(text);
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  return *std::move(graph);
}

/// Runs the pipeline, which must succeed. A pass that reports no change must not have made one.
inline ir::Graph run(std::string_view pipeline, std::string_view text) {
  ir::Graph graph = parsed(text);
  const std::string before = ir::print(graph);
  PassContext context;
  const auto records = run_pipeline(pipeline, graph, context, &make);
  INFO((records ? "" : records.error().message()));
  REQUIRE(records);
  bool changed = false;
  for (const PassRecord& record : *records)
    changed = changed || record.report.changed;
  CHECK(changed == (ir::print(graph) != before));
  return graph;
}

/// Input tensors of [2, 3] where dimensions have names, filled with numbers between -4 and 4.
inline std::vector<ir::Tensor> some_inputs(const ir::Graph& graph) {
  std::vector<ir::Tensor> inputs;
  for (const ir::ValueId id : graph.inputs()) {
    ir::Dims dims;
    for (const ir::Dim& dim : graph.type(id).dims.value())
      dims.push_back(dim.is_fixed() ? dim.size : 2 + (std::ssize(dims) > 0 ? 1 : 0));
    std::vector<float> values(static_cast<std::size_t>(ir::element_count(dims).value()));
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] = static_cast<float>(static_cast<int>(i * 37 % 81) - 40) / 10;
    inputs.push_back(ir::Tensor::from<float>(dims, values).converted(graph.type(id).dtype));
  }
  return inputs;
}

/// Both graphs give the same on the same inputs.
inline void check_same_results(const ir::Graph& before, const ir::Graph& after, double tolerance) {
  const auto expected = reference::interpret(before, some_inputs(before));
  const auto actual = reference::interpret(after, some_inputs(after));
  INFO((expected ? "" : expected.error().message()));
  INFO((actual ? "" : actual.error().message()));
  REQUIRE(expected);
  REQUIRE(actual);
  REQUIRE(expected->size() == actual->size());
  for (std::size_t i = 0; i < expected->size(); ++i) {
    REQUIRE((*actual)[i].dims() == (*expected)[i].dims());
    for (Index k = 0; k < (*actual)[i].elements(); ++k)
      CHECK((*actual)[i].value(k) == Approx((*expected)[i].value(k)).margin(tolerance));
  }
}

/// Runs an exact pass and compares the results before and after; a second run changes nothing.
inline ir::Graph run_exact(std::string_view pipeline,
                           std::string_view text,
                           double tolerance = 1e-6) {
  const ir::Graph graph = run(pipeline, text);
  check_same_results(parsed(text), graph, tolerance);
  ir::Graph again = graph;
  PassContext context;
  const auto records = run_pipeline(pipeline, again, context, &make);
  REQUIRE(records);
  CHECK(ir::print(again) == ir::print(graph));
  return graph;
}

inline std::string ops(const ir::Graph& graph) {
  std::string text;
  for (const ir::NodeId id : graph.order()) {
    text += (text.empty() ? "" : " ") + std::string(info(graph.node(id).op()).name);
  }
  return text;
}

}  // namespace rtai::passes
