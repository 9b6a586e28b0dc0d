// Removes the heads and FFN columns with the smallest weights: the control that knows no data.
//
// A unit's score is the squared norm of all weights that belong to it, per multiply-add that it
// costs; all units of the model are ranked together. Nothing that stays is changed.
#include "libopt/prune/scores.h"
#include "passes/passes.h"

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "prune-magnitude",
    .summary = "removes the heads and FFN columns with the smallest weights (a control)",
    .source = "Han et al. 2015, arXiv:1506.02626, for whole units",
    .exactness = Exactness::approximate,
};

using Options = prune::Target;

class PruneMagnitude final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith::configure(values));
    return chosen().check();
  }

  Result<PassReport> run(ir::Graph& graph, PassContext& context) override {
    RTAI_TRY(const std::vector<prune::Module> modules, prune::find_modules(graph));
    prune::Scores scores = prune::magnitude_scores(graph, modules);
    prune::divide_by_cost(graph, modules, chosen().seq, scores);
    const prune::ScoreMethod method(std::move(scores));
    RTAI_TRY(const prune::Plan plan,
             prune::make_plan(chosen(), graph, modules, method, context.evaluator, *context.log));
    graph = prune::narrowed(graph, modules, plan.kept);
    return prune::describe(modules, plan);
  }
};

}  // namespace

std::unique_ptr<Pass> make_prune_magnitude() {
  return std::make_unique<PruneMagnitude>();
}

}  // namespace rtai::passes
