// What the control methods have in common: they score units, keep the best, and change little else.
#pragma once

#include "libopt/pass/pass.h"
#include "libopt/prune/cost.h"
#include "libopt/prune/scores.h"

#include <functional>
#include <span>
#include <string_view>

namespace rtai::prune {

/// Units by their scores, to be compared over all modules, and what is done with the kept ones.
struct Ranking {
  Scores scores;
  /// Leaves the kept units in the graph; nothing: narrowed(), all weights as they were.
  std::function<Result<void>(ir::Graph& graph, const Kept& kept)> apply = {};
};

/// Whether a control reads texts.
enum class Reads : std::uint8_t { nothing, texts };

/// A pass that ranks the units of the model once and keeps as many as the target buys.
template <class Options, Reads kReads>
class Control : public PassWith<Options> {
 public:
  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith<Options>::configure(values));
    return this->chosen().check();
  }

  Result<PassReport> run(ir::Graph& graph, PassContext& context) final {
    if (kReads == Reads::texts && (context.calibration == nullptr || context.evaluator == nullptr))
      return Error{ErrorCode::invalid_input, "activations need calibration texts"};
    RTAI_TRY(const std::vector<Module> modules, find_modules(graph));
    RTAI_TRY(Ranking ranking, rank(graph, modules, context));
    const ScoreMethod method(std::move(ranking.scores));
    RTAI_TRY(const Plan plan,
             make_plan(this->chosen(), graph, modules, method, context.evaluator, *context.log));
    if (ranking.apply)
      RTAI_TRY_VOID(ranking.apply(graph, plan.kept));
    else
      graph = narrowed(graph, modules, plan.kept);
    return describe(modules, plan);
  }

 private:
  /// `modules` and `context` outlive the ranking.
  virtual Result<Ranking> rank(const ir::Graph& dense,
                               std::span<const Module> modules,
                               PassContext& context) const = 0;
};

}  // namespace rtai::prune
