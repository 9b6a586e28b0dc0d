#include "libopt/prune/vocabulary.h"

#include "libopt/ir/text.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"

#include <catch2/catch.hpp>

namespace rtai::prune {
namespace {

std::vector<float> logits(const ir::Graph& graph, const std::vector<std::int32_t>& ids) {
  TokenBatch texts;
  texts.append(ids, std::vector<std::int32_t>(ids.size()));
  testing::RuntimeEvaluator evaluator;
  const auto values =
      evaluator.run(graph, model_inputs(graph, texts), texts.offsets, graph.outputs()).value();
  const auto data = values[0].data<float>();
  return {data.begin(), data.end()};
}

TEST_CASE("a model that knows fewer tokens answers the same to those it knows") {
  const bool quantized = GENERATE(false, true);
  const ir::Graph dense = quantized ? testing::make_int8_model() : testing::make_model();
  ir::Graph narrow = dense;
  REQUIRE(keep_words(narrow, std::vector<Index>{0, 7, 42, 100}));
  REQUIRE(ir::verify(narrow));
  CHECK(ir::footprint(narrow).parameters < ir::footprint(dense).parameters);
  CHECK(logits(narrow, {0, 3, 2, 1}) == logits(dense, {0, 100, 42, 7}));
}

TEST_CASE("a token that the model does not have cannot be kept") {
  ir::Graph graph = testing::make_model();
  const auto status = keep_words(graph, std::vector<Index>{0, 101});
  REQUIRE_FALSE(status);
  CHECK(status.error().message() == "token 101 has no row: the word table has 101");
}

TEST_CASE("a word table that something else reads stays whole") {
  ir::Graph graph = ir::parse(R"(
    graph (%ids: i32[tokens]) {
      @t: f32[3, 2] = random
      %e = embedding(%ids, none, @t)
      %y = linear(%e, @t)
      return %y
    })")
                        .value();
  const auto status = keep_words(graph, std::vector<Index>{0, 1});
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::unsupported);
  CHECK(status.error().message().find("used elsewhere") != std::string::npos);
}

TEST_CASE("a model without token ids has no vocabulary") {
  ir::Graph graph =
      ir::parse(
          "graph (%x: f32[tokens, 2]) { @w: f32[1, 2] = random %y = linear(%x, @w) return %y }")
          .value();
  CHECK(keep_words(graph, std::vector<Index>{0}).error().code() == ErrorCode::unsupported);
}

}  // namespace
}  // namespace rtai::prune
