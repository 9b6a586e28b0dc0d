#include "libopt/reference/interpret.h"

#include "libopt/ir/text.h"
#include "tests/libopt/reference/apply.h"

#include <catch2/catch.hpp>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

ir::Graph parse(std::string_view text) {
  auto graph = ir::parse(text);
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  return *std::move(graph);
}

TEST_CASE("a graph runs in order and returns its outputs") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[n], %y: f32[n]) {
      @two: f32[] = [2]
      %s = add(%x, %y) : f32[n]
      %d = mul(%s, @two) : f32[n]
      return %d, %s, %x, @two
    })");
  const auto outputs = interpret(graph, std::vector{f32({2}, {1, 2}), f32({2}, {10, 20})});
  REQUIRE(outputs);
  CHECK(outputs->at(0) == f32({2}, {22, 44}));
  CHECK(outputs->at(1) == f32({2}, {11, 22}));
  CHECK(outputs->at(2) == f32({2}, {1, 2}));
  CHECK(outputs->at(3) == f32({}, {2}));
}

TEST_CASE("all values of a graph can be had") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[2]) {
      @two: f32[] = [2]
      %unused = neg(%x) : f32[2]
      %d = mul(%x, @two) : f32[2]
      return %d
    })");
  const auto values = interpret_all(graph, std::vector{f32({2}, {1, 2})});
  REQUIRE(values);
  CHECK(values->size() == 4);
  CHECK(values->at(*graph.find_value("unused")) == f32({2}, {-1, -2}));
  CHECK(values->at(*graph.find_value("d")) == f32({2}, {2, 4}));
}

TEST_CASE("wanted values are computed without looking at other inputs or nodes") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[2], %other: f32[2]) {
      @bad: f32[3] = [1, 2, 3]
      %fails = add(%other, @bad) : f32[2]
      %n = neg(%x) : f32[2]
      return %fails
    })");
  const std::vector inputs = {f32({2}, {1, 2}), Tensor()};
  const auto outputs = interpret(graph, inputs, {.wanted = {*graph.find_value("n")}});
  REQUIRE(outputs);
  CHECK(outputs->at(0) == f32({2}, {-1, -2}));
}

TEST_CASE("given values replace what would be computed") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[2]) {
      %n = neg(%x) : f32[2]
      %a = abs(%n) : f32[2]
      %b = add(%n, %a) : f32[2]
      return %b
    })");
  const Run run{.given = {{*graph.find_value("n"), f32({2}, {5, -5})}}};
  const auto outputs = interpret(graph, std::vector{Tensor()}, run);
  REQUIRE(outputs);
  CHECK(outputs->at(0) == f32({2}, {10, 0}));
}

TEST_CASE("inputs that do not fit their declaration are refused by name") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[batch, 2]) {
      %n = neg(%x) : f32[batch, 2]
      return %n
    })");
  const auto error_of = [&](const Tensor& input) {
    return interpret(graph, std::vector{input}).error().message();
  };
  CHECK(error_of(i64({1, 2}, {1, 2})) == "input 'x': expected f32[batch, 2], found i64[1, 2]");
  CHECK(error_of(f32({2}, {1, 2})) == "input 'x': expected f32[batch, 2], found f32[2]");
  CHECK(error_of(f32({1, 1}, {1})) == "input 'x': expected f32[batch, 2], found f32[1, 1]");
  CHECK(interpret(graph, {}).error().message() == "the graph has 1 inputs, 0 are given");
}

TEST_CASE("an error names the node and its operator") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[n]) {
      @three: f32[3] = [1, 2, 3]
      %sum = add(%x, @three) : f32[3]
      return %sum
    })");
  const auto outputs = interpret(graph, std::vector{f32({2}, {1, 2})});
  REQUIRE_FALSE(outputs);
  CHECK(outputs.error().code() == ErrorCode::invalid_input);
  CHECK(outputs.error().message() == "node 'sum' (add): [2] and [3] do not broadcast");
}

TEST_CASE("a tensor above the memory limit is refused before it is made") {
  const std::vector<std::optional<Tensor>> inputs = {f32({1}, {1}),
                                                     i64({3}, {1 << 20, 1 << 20, 1 << 20})};
  const auto result = apply_all(Op::expand, inputs);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::unsupported);
  CHECK(result.error().message().find("memory limit") != std::string::npos);
}

TEST_CASE("the memory limit counts what is alive, not what was freed") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[256]) {
      %a = neg(%x) : f32[256]
      %b = neg(%a) : f32[256]
      %c = neg(%b) : f32[256]
      %d = neg(%c) : f32[256]
      return %d
    })");
  const std::vector inputs = {Tensor::zeros(DType::f32, {256}).value()};
  CHECK(interpret(graph, inputs, {.memory_limit_bytes = 2 * 1024}));
  CHECK_FALSE(interpret(graph, inputs, {.memory_limit_bytes = 2 * 1024 - 1}));
}

TEST_CASE("work without end is refused") {
  const std::vector<std::optional<Tensor>> inputs = {Tensor::zeros(DType::f32, {100, 100}).value(),
                                                     Tensor::zeros(DType::f32, {100, 100}).value()};
  CHECK(apply_all(Op::matmul, inputs, {}, 1, {.work_limit = 1'100'000}));
  const auto refused = apply_all(Op::matmul, inputs, {}, 1, {.work_limit = 1'000'000});
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::unsupported);
}

TEST_CASE("dimensions whose product overflows behind a zero are refused") {
  const Tensor empty = Tensor::zeros(DType::f32, {0, Index{1} << 40, Index{1} << 40}).value();
  CHECK(refusal(Op::softmax, {empty}).find("impossible dimensions") != std::string::npos);
  CHECK(refusal(Op::flatten, {empty}).find("impossible dimensions") != std::string::npos);
}

TEST_CASE("missing and surplus inputs of a node are refused") {
  CHECK(refusal(Op::add, {f32({}, {1})}).find("1 inputs") != std::string::npos);
  CHECK(refusal(Op::add, {f32({}, {1}), std::nullopt}).find("input 1 is missing") !=
        std::string::npos);
  CHECK(refusal(Op::neg, {f32({}, {1}), f32({}, {1})}).find("2 inputs") != std::string::npos);
  CHECK(refusal(Op::concat, {f32({1}, {1}), std::nullopt}).find("input 1 is missing") !=
        std::string::npos);
}

TEST_CASE("16-bit floats are computed in f32 and rounded back") {
  const Tensor a = f32({2}, {1.0f, 2048.0f}).converted(DType::f16);
  const Tensor b = f32({2}, {0.0004f, 1.0f}).converted(DType::f16);
  const Tensor sum = apply(Op::add, {a, b});
  CHECK(sum == f32({2}, {1.0f, 2048.0f}).converted(DType::f16));  // half a step: to even
  CHECK(apply(Op::sqrt, {f32({1}, {2}).converted(DType::bf16)}) ==
        f32({1}, {1.4142135f}).converted(DType::bf16));
  CHECK(apply(Op::greater, {a, b}) == bools({2}, {1, 1}));
}

TEST_CASE("one node can be evaluated alone") {
  const ir::Graph graph = parse(R"(
    graph (%x: f32[2]) {
      %n = neg(%x) : f32[2]
      return %n
    })");
  const Tensor x = f32({2}, {1, 2});
  const std::vector<const Tensor*> inputs = {&x};
  const auto results = evaluate(graph.node(graph.order()[0]), inputs);
  REQUIRE(results);
  CHECK(results->at(0) == f32({2}, {-1, -2}));
}

}  // namespace
}  // namespace rtai::reference
