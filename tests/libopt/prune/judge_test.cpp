#include "libopt/prune/judge.h"

#include "libopt/ir/text.h"
#include "libopt/prune/modules.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"
#include "tests/support/texts.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai::prune {
namespace {

TEST_CASE("outputs are compared by how they are made") {
  const ir::Graph graph = ir::parse(R"(
    graph (%x: f32[tokens, 4]) {
      @w: f32[3, 4] = random
      @w2: f32[2, 4] = random
      @w1: f32[1, 4] = random
      %classes = linear(%x, @w)
      %both = linear(%x, @w2)
      %start = columns(%both) {begin = 0, end = 1}
      %first = first_token(%x)
      %score = linear(%first, @w1)
      %mean = mean_pool(%x)
      %unit = l2_normalize(%mean)
      return %classes, %start, %score, %unit
    })")
                              .value();
  const auto outputs = graph.outputs();
  CHECK(comparison_of(graph, outputs[0]) == Comparison::classes);
  CHECK(comparison_of(graph, outputs[1]) == Comparison::positions);
  CHECK(comparison_of(graph, outputs[2]) == Comparison::values);
  CHECK(comparison_of(graph, outputs[3]) == Comparison::values);
}

/// ids 0 and 1 with these logits, straight from the table.
ir::Graph table_model(const std::string& rows) {
  return ir::parse("graph (%ids: i32[tokens]) { @t: f32[2, 2] = " + rows +
                   " @eye: f32[2, 2] = [1, 0, 0, 1] %e = embedding(%ids, none, @t) "
                   "%y = linear(%e, @eye) return %y }")
      .value();
}

TEST_CASE("the divergence of classes is Kullback-Leibler, without the marks at both ends") {
  testing::RuntimeEvaluator evaluator;
  TokenBatch texts;
  texts.append(std::vector<std::int32_t>{0, 1, 0}, std::vector<std::int32_t>(3));
  // Token 1 goes from (1/2, 1/2) to (1/4, 3/4); token 0 changes wildly and does not count.
  const ir::Graph dense = table_model("[5, 0, 0, 0]");
  const ir::Graph changed = table_model("[0, 9, 0, 1.0986123]");
  Judge judge = Judge::make(dense, texts, evaluator).value();
  const double expected = 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75);
  CHECK(judge.divergence(changed).value() == Approx(expected).epsilon(1e-4));
  CHECK(judge.divergence(dense).value() == Approx(0).margin(1e-9));
}

TEST_CASE("a judge that has walked on measures the same") {
  const ir::Graph dense = testing::make_model({.layers = 2, .pooled = GENERATE(false, true)});
  const std::vector<Module> modules = find_modules(dense).value();
  ir::Graph changed = dense;
  keep_units(changed, modules[3], std::vector<Index>{0, 1, 2});
  testing::RuntimeEvaluator evaluator;
  const TokenBatch texts = testing::random_texts(20, 101);
  Judge judge = Judge::make(dense, texts, evaluator).value();
  const double from_start = judge.divergence(changed).value();
  REQUIRE(from_start > 0);
  for (const Module& module : modules) {
    REQUIRE(judge.advance(dense, *cut_before(dense, module)));
    CHECK(judge.divergence(changed).value() == Approx(from_start).epsilon(1e-3));
  }
}

TEST_CASE("embeddings are compared by squared error relative to their variance") {
  const ir::Graph dense = ir::parse(
                              "graph (%ids: i32[tokens]) { @t: f32[2, 2] = [1, 0, 0, 1] "
                              "%e = embedding(%ids, none, @t) %y = mean_pool(%e) return %y }")
                              .value();
  const ir::Graph changed = ir::parse(
                                "graph (%ids: i32[tokens]) { @t: f32[2, 2] = [1, 0.5, 0, 1] "
                                "%e = embedding(%ids, none, @t) %y = mean_pool(%e) return %y }")
                                .value();
  TokenBatch texts;
  texts.append(std::vector<std::int32_t>{0}, std::vector<std::int32_t>(1));
  texts.append(std::vector<std::int32_t>{1}, std::vector<std::int32_t>(1));
  testing::RuntimeEvaluator evaluator;
  Judge judge = Judge::make(dense, texts, evaluator).value();
  // Values 1 0 0 1: variance sum 1; one of them is off by 1/2.
  CHECK(judge.divergence(changed).value() == Approx(0.25));
}

}  // namespace
}  // namespace rtai::prune
