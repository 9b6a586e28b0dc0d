// What `rtai inspect` says of an engine: its architecture, and how much of it is zero.
#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"
#include "libopt/lower/lower.h"
#include "tests/support/models.h"
#include "tools/report/architecture.h"
#include "tools/report/steps.h"

#include <catch2/catch.hpp>

#include <algorithm>

namespace rtai::tools {
namespace {

engine::Engine lowered(const ir::Graph& graph) {
  auto engine = lower(graph);
  REQUIRE(engine);
  return *std::move(engine);
}

Json architecture(const ir::Graph& graph) {
  return architecture_json(architecture_of(lowered(graph).program));
}

std::string card_text(const ir::Graph& graph) {
  Card card;
  add_architecture(card, architecture_of(lowered(graph).program));
  return card.text();
}

/// The zeros of the step that makes what `node` makes: both are in the same order.
ZeroWeights zeros_of_node(const ir::Graph& graph, ir::NodeId node) {
  const auto place = std::ranges::find(graph.order(), node) - graph.order().begin();
  return zero_weights(lowered(graph))[static_cast<std::size_t>(place)];
}

void set_zero(ir::Graph& graph, ir::ValueId weight, Index elements) {
  ir::Tensor tensor = *graph.constant(weight);
  if (tensor.dtype() == DType::i8)
    std::ranges::fill(tensor.mutable_data<std::int8_t>().first(static_cast<std::size_t>(elements)),
                      std::int8_t{0});
  else
    std::ranges::fill(tensor.mutable_data<float>().first(static_cast<std::size_t>(elements)), 0.0F);
  graph.set_constant(weight, std::move(tensor));
}

}  // namespace

TEST_CASE("an encoder is described by its layers, sizes and head") {
  const Json json = architecture(testing::make_model({.layers = 3, .pooled = true}));
  CHECK(json["layers"] == 3);
  CHECK(json["hidden"] == 64);
  CHECK(json["heads"] == Json({4, 4, 4}));
  CHECK(json["head_dim"] == 16);
  CHECK(json["ffn"] == Json({128, 128, 128}));
  CHECK(json["activation"] == "gelu");
  CHECK(json["vocabulary"] == 101);
  CHECK(json["positions"] == 40);
  CHECK(json["segments"] == 2);
  CHECK(json["relative"] == false);
  CHECK(json["head"] == Json({"first token", "64 -> 64", "tanh", "64 -> 5"}));
  CHECK(card_text(testing::make_model({.layers = 3, .pooled = true})) ==
        "  architecture 3 layers, hidden 64, 4 heads of 16, FFN 128 gelu, vocabulary 101\n"
        "  head         first token, 64 -> 64, tanh, 64 -> 5\n");
}

TEST_CASE("attention by distance is part of the description") {
  const ir::Graph graph = testing::make_model({.relative = true});
  CHECK(architecture(graph)["relative"] == true);
  CHECK(card_text(graph).find("attention by distance") != std::string::npos);
}

TEST_CASE("zero weights are counted layer by layer, whatever pads them") {
  // 5 labels: panels are padded to 16 rows, and 66 columns of int8 to 68.
  for (const ir::Graph& original :
       {testing::make_model({.hidden = 66}), testing::make_int8_model({.hidden = 66})}) {
    ir::Graph graph = original;
    const ir::NodeId head = graph.nodes_of(ir::Op::linear).back();
    const ir::ValueId weight = graph.node(head).input(ir::Linear::weight);
    const Index before = zeros_of_node(graph, head).zeros;
    set_zero(graph, weight, 3 * 66);
    const ZeroWeights zeros = zeros_of_node(graph, head);
    CHECK(zeros.weights == 5 * 66);
    CHECK(before <= 10);
    CHECK(zeros.zeros >= 3 * 66);
    CHECK(zeros.zeros <= 3 * 66 + before);
    CHECK(zeros.share() >= 0.6);
  }
}

TEST_CASE("the table speaks of zeros only where there are more than rounding leaves") {
  ir::Graph graph = testing::make_int8_model();
  const auto text = [](const ir::Graph& shown) {
    const engine::Engine engine = lowered(shown);
    return steps_text(engine.program, zero_weights(engine));
  };
  CHECK(text(graph).find("zeros") == std::string::npos);
  const ir::Node& head = graph.node(graph.nodes_of(ir::Op::linear).back());
  set_zero(graph, head.input(ir::Linear::weight), 5 * 64);
  CHECK(text(graph).find("zeros") != std::string::npos);
  CHECK(text(graph).find("100.0 %") != std::string::npos);
}

}  // namespace rtai::tools
