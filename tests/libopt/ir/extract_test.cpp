#include "libopt/ir/extract.h"

#include "libopt/ir/text.h"

#include <catch2/catch.hpp>

namespace rtai::ir {
namespace {

Graph three_steps() {
  return parse(R"(
    graph (%ids: i32[tokens]) {
      @word: f32[7, 4] = random
      @w: f32[4, 4] = random
      @b: f32[4] = [1, 2, 3, 4]
      %e = embedding(%ids, none, @word)
      %y = linear(%e, @w, @b)
      %z = add(%y, %e)
      return %z
    })")
      .value();
}

std::vector<ValueId> values(const Graph& graph, std::initializer_list<const char*> names) {
  std::vector<ValueId> ids;
  for (const char* name : names)
    ids.push_back(*graph.find_value(name));
  return ids;
}

TEST_CASE("a part begins at the given values and ends at the wanted ones") {
  const Graph graph = three_steps();
  const Graph part = extract(graph, values(graph, {"e"}), values(graph, {"z", "y"}));
  REQUIRE(verify(part));
  CHECK(print(part) == print(parse(R"(
    graph (%e: f32[tokens, 4]) {
      @w: f32[4, 4] = random
      @b: f32[4] = [1, 2, 3, 4]
      %y = linear(%e, @w, @b)
      %z = add(%y, %e)
      return %z, %y
    })")
                                 .value()));
}

TEST_CASE("a part that needs more than the given values keeps the inputs of the whole") {
  const Graph graph = three_steps();
  const Graph part = extract(graph, values(graph, {"y"}), values(graph, {"z"}));
  REQUIRE(verify(part));
  REQUIRE(part.inputs().size() == 2);
  CHECK(part.name(part.inputs()[0]) == "y");
  CHECK(part.name(part.inputs()[1]) == "ids");
  CHECK(part.nodes_of(Op::linear).empty());
}

TEST_CASE("the part from the inputs to the outputs is the whole graph, sharing its constants") {
  const Graph graph = three_steps();
  const Graph part = extract(graph, {}, graph.outputs());
  CHECK(print(part) == print(graph));
  const Tensor& word = *graph.constant(*graph.find_value("word"));
  CHECK(part.constant(*part.find_value("word"))->bytes().data() == word.bytes().data());
}

}  // namespace
}  // namespace rtai::ir
