// Removes the heads and FFN columns whose activations times weights are smallest: a control.
//
// A unit's score is the sum over its columns of E x^2 * |w|^2, w being what the layer behind it
// gives the column, per multiply-add that the unit costs; all units of the model are ranked
// together. Nothing that stays is changed.
#include "libopt/prune/scores.h"
#include "passes/passes.h"

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "prune-wanda",
    .summary = "removes the heads and FFN columns of small activation times weight (a control)",
    .source = "Sun et al. 2023, arXiv:2306.11695, for whole units",
    .exactness = Exactness::approximate,
};

using Options = prune::Target;

class PruneWanda final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith::configure(values));
    return chosen().check();
  }

  Result<PassReport> run(ir::Graph& graph, PassContext& context) override {
    if (context.calibration == nullptr || context.evaluator == nullptr)
      return Error{ErrorCode::invalid_input, "activations need calibration texts"};
    RTAI_TRY(const std::vector<prune::Module> modules, prune::find_modules(graph));
    RTAI_TRY(const auto statistics, prune::column_statistics(graph, modules, *context.calibration,
                                                             *context.evaluator, *context.log));
    std::vector<std::vector<double>> squares;
    for (const prune::ColumnStatistics& of : statistics)
      squares.push_back(of.square);
    prune::Scores scores = prune::output_scores(graph, modules, squares);
    prune::divide_by_cost(graph, modules, chosen().seq, scores);
    const prune::ScoreMethod method(std::move(scores));
    RTAI_TRY(const prune::Plan plan,
             prune::make_plan(chosen(), graph, modules, method, context.evaluator, *context.log));
    graph = prune::narrowed(graph, modules, plan.kept);
    return prune::describe(modules, plan);
  }
};

}  // namespace

std::unique_ptr<Pass> make_prune_wanda() {
  return std::make_unique<PruneWanda>();
}

}  // namespace rtai::passes
