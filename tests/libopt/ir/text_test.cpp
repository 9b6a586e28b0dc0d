#include "libopt/ir/text.h"

#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"
#include "tests/support/models.h"

#include <catch2/catch.hpp>

namespace rtai::ir {
namespace {

constexpr std::string_view kSmall = R"(graph (%x: f32[tokens, 4]) {
  @w: f32[2, 4] = [1, 2, 3, 4, 5, 6, 7, 8]
  @b: f32[2] = [0.5, -1.25]
  %y = linear(%x, @w, @b) : f32[tokens, 2]
  %z = activation(%y) {kind = "gelu"} : f32[tokens, 2]
  return %z
}
)";

TEST_CASE("a printed graph reads back to the same text") {
  const Result<Graph> graph = parse(kSmall);
  REQUIRE(graph);
  CHECK(print(*graph) == kSmall);
  CHECK(verify(*graph));
}

TEST_CASE("types of transformer operators are inferred when left out") {
  const Result<Graph> graph = parse(R"(
    graph (%x: f32[tokens, 12]) {
      %a = attention(%x) {heads = 2, head_dim = 2, scale = 0.5}
      %p = first_token(%a)
      return %p
    })");
  REQUIRE(graph);
  CHECK(to_string(graph->type(graph->outputs()[0])) == "f32[sequences, 4]");
}

TEST_CASE("mistakes in a graph's text are named with their line") {
  const auto message = [](std::string_view text) {
    const Result<Graph> graph = parse(text);
    REQUIRE_FALSE(graph);
    return graph.error().message();
  };
  CHECK(message("grph () {}") == "line 1: expected 'graph', found 'grph () {}'");
  CHECK(message("graph () {\n  %a = jump(%x)\n return %a }") ==
        "line 2: expected a known operator instead of 'jump', found '(%x)'");
  CHECK(message("graph () {\n  %a = relu(%x) : f32\n return %a }") ==
        "line 2: expected a declared value instead of '%x', found ') : f32'");
  CHECK(message("graph (%x: f32[tokens, 3]) {\n\n %a = attention(%x) {heads = 2, head_dim = 2}\n "
                "return %a }") ==
        "line 4: expected a valid attention (qkv is f32[tokens, 3], heads 2, head_dim 2), found "
        "'return %a }'");
  CHECK(message("graph () {\n  @c: f32[2] = [1, 2, 3]\n return @c }") ==
        "line 3: expected 2 values, found 'return @c }'");
}

TEST_CASE("verify finds what a pass must not leave behind") {
  Graph graph = parse(kSmall).value();
  const NodeId linear = graph.nodes_of(Op::linear)[0];
  graph.set_type(graph.result(linear), {DType::f32, std::vector<Dim>{"tokens", 3}});
  const auto status = verify(graph);
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::internal);
  CHECK(status.error().message() ==
        "node 'y' (linear): result is f32[tokens, 3], expected f32[tokens, 2]");
}

TEST_CASE("sort puts nodes after what they need and names a cycle") {
  Graph graph;
  const ValueId x = graph.add_input("x", {DType::f32, std::nullopt});
  const Type type{DType::f32, std::nullopt};
  const NodeId second = graph.append(
      {.op = Op::relu, .inputs = {x}, .outputs = {type}, .attributes = {}, .name = "second"});
  const NodeId first = graph.append(
      {.op = Op::tanh, .inputs = {x}, .outputs = {type}, .attributes = {}, .name = "first"});
  graph.set_input(second, 0, graph.result(first));
  REQUIRE(graph.sort());
  CHECK(graph.order()[0] == first);
  CHECK(graph.order()[1] == second);
  graph.set_input(first, 0, graph.result(second));
  const auto status = graph.sort();
  REQUIRE_FALSE(status);
  CHECK(status.error().message() == "node 'first' depends on its own result");
}

TEST_CASE("replacing a value reaches every use and the outputs") {
  Graph graph = parse(R"(
    graph (%x: f32[tokens, 4]) {
      %a = add(%x, %x)
      %b = add(%a, %a)
      return %a, %b
    })")
                    .value();
  const ValueId a = *graph.find_value("a");
  const ValueId x = *graph.find_value("x");
  graph.replace_uses(a, x);
  CHECK(graph.users(a).empty());
  CHECK(graph.outputs()[0] == x);
  CHECK(graph.erase_dead());
  CHECK(graph.nodes_of(Op::add).size() == 1);
  CHECK(verify(graph));
}

TEST_CASE("tensors share their data until one is written to") {
  Tensor a = Tensor::from<float>({2, 2}, std::vector<float>{1, 2, 3, 4});
  Tensor b = a;
  CHECK(a.bytes().data() == b.bytes().data());
  b.mutable_data<float>()[0] = 9;
  CHECK(a.data<float>()[0] == 1);
  CHECK(b.data<float>()[0] == 9);
  CHECK_FALSE(a == b);
  CHECK(a.reshaped({4}).bytes().data() == a.bytes().data());
}

TEST_CASE("impossible dimensions are refused before memory is asked for") {
  CHECK_FALSE(Tensor::zeros(DType::f32, {Index{1} << 40, Index{1} << 40}));
  CHECK_FALSE(Tensor::zeros(DType::f32, {-1}));
  CHECK_FALSE(Tensor::zeros(DType::f32, {Index{1} << 61}));
}

TEST_CASE("layers are found and named by their place") {
  Graph graph = testing::make_model({.layers = 3, .pooled = true});
  CHECK(find_layers(graph).size() == 3);
  CHECK(name_by_place(graph));
  CHECK(graph.find_value("layer.2.ffn_out.weight"));
  CHECK(graph.find_value("layer.0.attention_norm.bias"));
  CHECK(graph.find_value("embedding.word"));
  CHECK(graph.find_value("head.1.weight"));
  CHECK_FALSE(graph.find_value("layer.3.qkv.weight"));
  CHECK_FALSE(name_by_place(graph));
}

}  // namespace
}  // namespace rtai::ir
