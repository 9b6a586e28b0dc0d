#include "libopt/prune/refine.h"

#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"
#include "tests/support/texts.h"

#include <catch2/catch.hpp>

#include <numeric>

namespace rtai::prune {
namespace {

constexpr Index kVocabulary = 101;

/// A model, and itself with half of the units of each module; of the last module none.
struct Narrowed {
  explicit Narrowed(const testing::TinyModel& shape)
      : dense(testing::make_model(shape)), student(dense), modules(find_modules(dense).value()) {
    for (std::size_t m = 0; m < modules.size(); ++m) {
      kept.emplace_back(m + 1 < modules.size() ? static_cast<std::size_t>(modules[m].count / 2)
                                               : 0u);
      std::iota(kept.back().begin(), kept.back().end(), Index{0});
      keep_units(student, modules[m], kept.back());
    }
  }

  Refinement refine(const RefineOptions& options) {
    Judge judge = Judge::make(dense, testing::random_texts(20, kVocabulary, 7), evaluator).value();
    return prune::refine(dense, student, modules, kept, texts, judge, evaluator, options,
                         silent_log())
        .value();
  }

  ir::Graph dense;
  ir::Graph student;
  std::vector<Module> modules;
  std::vector<std::vector<Index>> kept;
  TokenBatch texts = testing::random_texts(60, kVocabulary);
  testing::RuntimeEvaluator evaluator;
};

std::vector<ir::Tensor> constants_of(const ir::Graph& graph) {
  std::vector<ir::Tensor> constants;
  for (const ir::ValueId id : graph.constants())
    constants.push_back(*graph.constant(id));
  return constants;
}

/// Time plays no part.
RefineOptions steps(Index count, double rate, int threads = 2) {
  return {.seconds = 1e6, .steps = count, .rate = rate, .threads = threads};
}

TEST_CASE("gradient steps bring answers nearer to the dense model's") {
  const bool pooled = GENERATE(true, false);
  const bool ends_in_sum = GENERATE(false, true);
  Narrowed model({.layers = 2, .pooled = pooled});
  if (ends_in_sum) {
    for (ir::Graph* graph : {&model.dense, &model.student})
      graph->set_outputs({model.modules[2].sum});
  }
  const Refinement done = model.refine(steps(60, 2e-3));
  CHECK(done.steps == 60);
  CHECK(done.after < 0.8 * done.before);
  // What it says is what the judge finds.
  Judge judge =
      Judge::make(model.dense, testing::random_texts(20, kVocabulary, 7), model.evaluator).value();
  CHECK(judge.divergence(model.student).value() == done.after);
}

TEST_CASE("steps that lead away from the dense model are taken back") {
  Narrowed model({.layers = 1});
  const auto before = constants_of(model.student);
  const Refinement done = model.refine(steps(10, 1.0));
  CHECK(done.steps == 10);
  CHECK(done.after == done.before);
  CHECK(constants_of(model.student) == before);
}

TEST_CASE("the same seed refines alike on any number of threads") {
  Narrowed one({.layers = 1});
  Narrowed three({.layers = 1});
  Narrowed other({.layers = 1});
  one.refine(steps(12, 1e-3, 1));
  three.refine(steps(12, 1e-3, 3));
  RefineOptions seeded = steps(12, 1e-3);
  seeded.seed = 1;
  other.refine(seeded);
  CHECK(constants_of(one.student) == constants_of(three.student));
  CHECK(constants_of(one.student) != constants_of(other.student));
}

TEST_CASE("refinement leaves tables alone, and modules without units without effect") {
  Narrowed model({.layers = 2});
  const auto embedding = std::ranges::find(model.student.order(), ir::Op::embedding,
                                           [&](auto id) { return model.student.node(id).op(); });
  const ir::ValueId table = model.student.node(*embedding).input(ir::Embedding::word);
  const ir::Tensor words = *model.student.constant(table);
  REQUIRE(model.refine(steps(20, 1e-3)).after > 0);
  CHECK(*model.student.constant(table) == words);
  Judge judge = Judge::make(model.student, model.texts, model.evaluator).value();
  ir::Graph dropped = model.student;
  REQUIRE(can_drop(dropped, model.modules.back()));
  drop_module(dropped, model.modules.back());
  CHECK(judge.divergence(dropped).value() == Approx(0).margin(1e-6));
}

TEST_CASE("refinement ends with its time, and wants texts") {
  Narrowed model({.layers = 1});
  CHECK(model.refine({.seconds = 1e-9}).steps == 0);
  int asked = 0;
  RefineOptions late = steps(1000, 1e-3);
  late.is_late = [&asked] { return ++asked > 3; };
  CHECK(model.refine(late).steps == 3);
  model.texts = {};
  Judge judge =
      Judge::make(model.dense, testing::random_texts(2, kVocabulary), model.evaluator).value();
  const auto failed = refine(model.dense, model.student, model.modules, model.kept, model.texts,
                             judge, model.evaluator, steps(1, 1e-3), silent_log());
  REQUIRE_FALSE(failed);
  CHECK(failed.error().code() == ErrorCode::invalid_input);
}

}  // namespace
}  // namespace rtai::prune
