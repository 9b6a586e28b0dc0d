#include "libopt/prune/fisher.h"

#include "libopt/prune/modules.h"
#include "libopt/prune/texts.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"
#include "tests/support/texts.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai::prune {
namespace {

std::vector<ir::Tensor> derivatives_of(const ir::Graph& graph,
                                       const TokenBatch& texts,
                                       const FisherOptions& options) {
  const auto modules = find_modules(graph).value();
  return mask_derivatives(graph, modules, texts, options, silent_log()).value();
}

TEST_CASE("the Fisher information of masks is half the curvature of the divergence") {
  // KL(p(1) || p(m)) = (m - 1)^2 F / 2 + ..., a property that no derivative by hand has a part in.
  const ir::Graph graph = testing::make_model({.layers = 1, .pooled = true});
  const TokenBatch texts = testing::random_texts(6, 101);
  const Scores scores = fisher_scores(derivatives_of(graph, texts, {.draws = 4000, .threads = 2}));
  const auto modules = find_modules(graph).value();
  for (const std::size_t m : {0u, 1u}) {
    const Module& module = modules[m];
    std::vector<double> sums(2, 0.0);
    for (Index unit = 0; unit < module.count; unit += module.count / 4) {
      ir::Graph scaled = graph;
      Layer layer = layer_of(graph, module.out);
      for (const Index column : unit_columns(module, std::span(&unit, 1))) {
        for (Index row = 0; row < layer.weight.dim(0); ++row)
          layer.weight.mutable_data<float>()[static_cast<std::size_t>(row * layer.weight.dim(1) +
                                                                      column)] *= 0.8f;
      }
      set_layer(scaled, module.out, layer);
      testing::RuntimeEvaluator evaluator;
      Judge judge = Judge::make(graph, texts, evaluator).value();
      sums[0] += judge.divergence(scaled).value() / (0.5 * 0.2 * 0.2);
      sums[1] += scores[m][static_cast<std::size_t>(unit)] / (4000 * 6);
    }
    CHECK(sums[0] == Approx(sums[1]).epsilon(0.1));
  }
}

TEST_CASE(
    "derivatives by masks are the same on any number of threads, and others for another seed") {
  const ir::Graph graph = testing::make_model({.layers = 1});
  const TokenBatch texts = testing::random_texts(90, 101);
  const auto once = derivatives_of(graph, texts, {.threads = 1});
  CHECK(derivatives_of(graph, texts, {.threads = 3}) == once);
  CHECK(derivatives_of(graph, texts, {.seed = 1, .threads = 3}) != once);
  REQUIRE(once.size() == 2);
  CHECK(once[0].dims() == ir::Dims{180, 4});
}

/// Texts of one token each.
TokenBatch single_tokens(Index count, Index vocabulary) {
  TokenBatch texts;
  for (Index i = 0; i < count; ++i) {
    const std::vector<std::int32_t> ids = {static_cast<std::int32_t>(i % vocabulary)};
    texts.append(ids, std::vector<std::int32_t>(1, 0));
  }
  return texts;
}

TEST_CASE(
    "the metric of a module's sum is half the curvature of the divergence by an error of it") {
  const ir::Graph graph = testing::make_model({.layers = 1, .pooled = true});
  const TokenBatch texts = single_tokens(100, 101);
  const auto modules = find_modules(graph).value();
  const auto metrics =
      output_metrics(graph, modules, texts, {.draws = 60, .threads = 2}, silent_log()).value();
  REQUIRE(metrics.size() == modules.size());
  Random random(5);
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const Index n = metrics[m].dim(0);
    double measured = 0;
    double predicted = 0;
    for (int direction = 0; direction < 8; ++direction) {
      std::vector<double> error;
      Layer layer = layer_of(graph, modules[m].out);
      for (float& bias : layer.bias) {
        error.push_back(0.06 * (random.unit() - 0.5));
        bias += static_cast<float>(error.back());
      }
      ir::Graph changed = graph;
      set_layer(changed, modules[m].out, layer);
      testing::RuntimeEvaluator evaluator;
      measured += Judge::make(graph, texts, evaluator).value().divergence(changed).value();
      for (Index row = 0; row < n; ++row) {
        double product = 0;
        for (Index column = 0; column < n; ++column)
          product += metrics[m].value(row * n + column) * error[static_cast<std::size_t>(column)];
        predicted += 0.5 * product * product;
      }
    }
    CHECK(measured == Approx(predicted).epsilon(0.1));
  }
}

TEST_CASE("metrics are the same on any number of threads, and others for another seed") {
  const ir::Graph graph = testing::make_model({.layers = 1});
  const auto modules = find_modules(graph).value();
  const TokenBatch texts = testing::random_texts(90, 101);
  const auto metrics = [&](const FisherOptions& options) {
    return output_metrics(graph, modules, texts, options, silent_log()).value();
  };
  const auto once = metrics({.draws = 1, .threads = 1});
  CHECK(metrics({.draws = 1, .threads = 3}) == once);
  CHECK(metrics({.draws = 1, .seed = 1, .threads = 3}) != once);
  CHECK(once[1].dims() == ir::Dims{64, 64});
}

TEST_CASE("rearrangement keeps one of two units that do the same, not none") {
  // Units 0 and 1 always pull together; 2 and 3 are a little more important, but on their own.
  const auto rows = ir::Tensor::from<float>(
      {4, 4}, std::vector<float>{1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1.5f, 0, 0, 0, 0, 1.6f});
  const Index kept[] = {2, 3};
  CHECK(rearranged(kept, rows) == std::vector<Index>{0, 3});
  const Index all[] = {0, 1, 2, 3};
  CHECK(rearranged(all, rows) == std::vector<Index>{0, 1, 2, 3});
  CHECK(rearranged({}, rows).empty());
}

}  // namespace
}  // namespace rtai::prune
