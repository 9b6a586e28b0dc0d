// Models and batches on which sessions of devices are compared with those of the CPU.
#pragma once

#include "libopt/lower/lower.h"
#include "runtime/exec/session.h"
#include "tests/support/batches.h"
#include "tests/support/models.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

namespace rtai::testing {

inline std::shared_ptr<const engine::Engine> engine_of(const ir::Graph& graph) {
  return std::make_shared<const engine::Engine>(lower(graph).value());
}

inline std::vector<float> answers(Session& session, const TokenSequences& tokens) {
  const auto status = session.run(tokens.batch());
  INFO((status ? "" : status.error().message()));
  REQUIRE(status);
  const auto output = session.output(0).flat();
  return {output.begin(), output.end()};
}

/// The largest difference, in parts of the range of the expected values.
inline double relative_difference(const std::vector<float>& values,
                                  const std::vector<float>& expected) {
  REQUIRE(values.size() == expected.size());
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  double largest = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    REQUIRE(std::isfinite(values[i]));
    largest = std::max(largest, std::fabs(double{values[i]} - expected[i]));
  }
  return largest / (double{*high} - *low);
}

inline const std::vector<TinyModel> kShapes = {
    {},
    {.heads = 3, .head_dim = 32, .ffn = 200, .segments = false, .pooled = true},
    {.hidden = 128, .heads = 2, .head_dim = 64, .ffn = 130, .activation = "gelu_tanh"},
    {.hidden = 48, .heads = 1, .head_dim = 8, .ffn = 77, .labels = 3, .activation = "relu"},
};
// Widths with which every tile of a linear layer is chosen, for one batch or the other.
inline const std::vector<TinyModel> kWideShapes = {
    {.hidden = 384, .heads = 12, .head_dim = 32, .ffn = 1536, .positions = 400},
    {.hidden = 768, .heads = 12, .head_dim = 64, .ffn = 3072, .positions = 400, .pooled = true},
    {.hidden = 256, .heads = 5, .head_dim = 64, .ffn = 700, .positions = 400},
    {.hidden = 1024, .heads = 4, .head_dim = 128, .ffn = 4096, .positions = 400},
};
inline const std::vector<std::vector<int>> kBatches = {
    {1}, {7}, {40}, {5, 1, 40, 12}, {33, 33, 33, 1}};

/// With int8 attention as well.
inline ir::Graph make_all_int8_model(const TinyModel& shape) {
  ir::Graph graph = make_int8_model(shape);
  for (const ir::NodeId id : graph.nodes_of(ir::Op::attention))
    graph.node(id).attributes().set("bits", Index{8});
  return graph;
}

}  // namespace rtai::testing
