// What every pass promises (libopt/pass/pass.h), for every line of passes.inc on every fixture.
#include "tests/passes/old_export.h"
#include "tests/passes/pass_test.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"
#include "tests/support/texts.h"

#include <cctype>
#include <cmath>
#include <map>

namespace rtai::passes {
namespace {

/// Passes that do nothing by default, or too much for a test, with the options they get here.
const std::map<std::string_view, std::string> kOptions = {
    {"prune-obs", "{flops=1.5,copies=1,points=3}"},
    {"prune-magnitude", "{flops=1.5}"},
    {"prune-wanda", "{flops=1.5}"},
    {"prune-flap", "{flops=1.5}"},
    {"prune-kwon", "{flops=1.5}"},
    {"drop-layers", "{layers=0}"},
};

struct Fixture {
  std::string name;
  ir::Graph graph;
};

std::vector<Fixture> fixtures() {
  const std::string canonical(kRaisePipeline.substr(0, kRaisePipeline.find(",raise-transformer")));
  return {{"an export below the transformer level", parsed(kOldExport)},
          {"the same, ready to be raised", run(canonical, kOldExport)},
          {"a tagger", testing::make_model()},
          {"a classifier", testing::make_model({.pooled = true})},
          {"a tagger with biases by distance", testing::make_model({.relative = true})},
          {"an int8 tagger", testing::make_int8_model()}};
}

std::vector<std::string> pipelines() {
  std::vector<std::string> all_of_them;
  for (const MakePass make_pass : all()) {
    const std::string_view name = make_pass()->info().name;
    const auto options = kOptions.find(name);
    all_of_them.push_back(std::string(name) + (options == kOptions.end() ? "" : options->second));
  }
  return all_of_them;
}

struct Outcome {
  ir::Graph graph;
  PassReport report;
};

Result<Outcome> apply(const std::string& pipeline, const ir::Graph& graph) {
  testing::RuntimeEvaluator evaluator;
  const TokenBatch texts = testing::random_texts(40, 101);
  PassContext context{.calibration = &texts, .evaluator = &evaluator};
  Outcome outcome{.graph = graph, .report = {}};
  RTAI_TRY(const std::vector<PassRecord> records,
           run_pipeline(pipeline, outcome.graph, context, &make));
  outcome.report = records.at(0).report;
  return outcome;
}

/// Every fixture that the pass accepts; what it refuses, it refuses as the user's mistake.
template <class Check>
void for_each_outcome(const Check& check) {
  for (const std::string& pipeline : pipelines()) {
    int accepted = 0;
    for (const Fixture& fixture : fixtures()) {
      INFO(pipeline << " on " << fixture.name);
      const Result<Outcome> outcome = apply(pipeline, fixture.graph);
      if (!outcome) {
        INFO(outcome.error().message());
        const ErrorCode code = outcome.error().code();
        CHECK((code == ErrorCode::invalid_input || code == ErrorCode::unsupported));
        continue;
      }
      ++accepted;
      check(pipeline, fixture, *outcome);
    }
    INFO(pipeline);
    CHECK(accepted > 0);
  }
}

Exactness exactness(const std::string& pipeline) {
  return make(pipeline.substr(0, pipeline.find('{')))->info().exactness;
}

/// Outputs for three packed sequences, or below the transformer level for a padded batch, whose
/// ids, mask and segments are zeros and ones.
std::vector<ir::Tensor> results(const ir::Graph& graph) {
  const TokenBatch texts = testing::random_texts(3, 101);
  std::vector<ir::Tensor> inputs;
  reference::Run run;
  if (graph.type(graph.inputs()[0]).dims->size() == 1) {
    inputs = model_inputs(graph, texts);
    run.offsets = texts.offsets;
  } else {
    for (std::size_t i = 0; i < graph.inputs().size(); ++i)
      inputs.push_back(
          ir::Tensor::from<std::int64_t>({2, 3}, std::vector<std::int64_t>{1, 1, 0, 1, 0, 0}));
  }
  auto outputs = reference::interpret(graph, inputs, run);
  INFO((outputs ? "" : outputs.error().message()));
  REQUIRE(outputs);
  return *std::move(outputs);
}

TEST_CASE("every pass leaves a valid graph, and says truly whether it changed it") {
  for_each_outcome([](const std::string&, const Fixture& fixture, const Outcome& outcome) {
    CHECK(ir::verify(outcome.graph));
    CHECK(outcome.report.changed == (ir::print(outcome.graph) != ir::print(fixture.graph)));
  });
}

TEST_CASE("every pass does the same thing twice") {
  for_each_outcome([](const std::string& pipeline, const Fixture& fixture, const Outcome& outcome) {
    const Result<Outcome> again = apply(pipeline, fixture.graph);
    REQUIRE(again);
    CHECK(ir::print(again->graph) == ir::print(outcome.graph));
  });
}

TEST_CASE("an exact pass keeps the outputs, and has nothing left to do") {
  for_each_outcome([](const std::string& pipeline, const Fixture& fixture, const Outcome& outcome) {
    if (exactness(pipeline) != Exactness::exact) return;
    const Result<Outcome> again = apply(pipeline, outcome.graph);
    REQUIRE(again);
    CHECK_FALSE(again->report.changed);
    CHECK(ir::print(again->graph) == ir::print(outcome.graph));
    if (outcome.graph.inputs().size() != fixture.graph.inputs().size()) return;  // raised
    const std::vector<ir::Tensor> expected = results(fixture.graph);
    const std::vector<ir::Tensor> actual = results(outcome.graph);
    REQUIRE(actual.size() == expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      REQUIRE(actual[i].dims() == expected[i].dims());
      for (Index k = 0; k < expected[i].elements(); ++k)
        REQUIRE(actual[i].value(k) == Approx(expected[i].value(k)).margin(1e-5));
    }
  });
}

TEST_CASE("an approximate pass that changed something says what it did") {
  for_each_outcome([](const std::string& pipeline, const Fixture&, const Outcome& outcome) {
    if (exactness(pipeline) == Exactness::approximate && outcome.report.changed)
      CHECK(outcome.report.counters.size() + outcome.report.tables.size() > 0);
  });
}

TEST_CASE("every pass refuses unknown options and values out of range, and explains each option") {
  for (const MakePass make_pass : all()) {
    const std::unique_ptr<Pass> pass = make_pass();
    INFO(pass->info().name);
    CHECK_FALSE(pass->info().summary.empty());
    CHECK_FALSE(pass->info().source.empty());
    const Result<void> unknown = pass->configure({{"no-such-option", "1"}});
    REQUIRE_FALSE(unknown);
    CHECK(unknown.error().code() == ErrorCode::invalid_input);
    for (const OptionInfo& option : pass->options()) {
      INFO(option.name);
      CHECK_FALSE(option.help.empty());
      const bool is_number = std::isdigit(static_cast<unsigned char>(option.default_value[0])) != 0;
      if (!is_number) continue;
      for (const std::string wrong : {"1e301", "-1e301", "some", "nan", ""}) {
        const Result<void> configured = pass->configure({{std::string(option.name), wrong}});
        INFO(wrong);
        REQUIRE_FALSE(configured);
        CHECK(configured.error().code() == ErrorCode::invalid_input);
      }
    }
  }
}

}  // namespace
}  // namespace rtai::passes
