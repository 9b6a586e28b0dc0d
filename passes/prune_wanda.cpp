// Removes the heads and FFN columns whose activations times weights are smallest: a control.
//
// A unit's score is the sum over its columns of E x^2 * |w|^2, w being what the layer behind it
// gives the column, per multiply-add that the unit costs; all units of the model are ranked
// together. Nothing that stays is changed.
#include "libopt/prune/control.h"
#include "passes/passes.h"

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "prune-wanda",
    .summary = "removes the heads and FFN columns of small activation times weight (a control)",
    .source = "Sun et al. 2023, arXiv:2306.11695, for whole units",
    .exactness = Exactness::approximate,
};

class PruneWanda final : public prune::Control<prune::Target, prune::Reads::texts> {
 public:
  const PassInfo& info() const override { return kInfo; }

 private:
  Result<prune::Ranking> rank(const ir::Graph& dense,
                              std::span<const prune::Module> modules,
                              PassContext& context) const override {
    RTAI_TRY(const auto statistics, prune::column_statistics(dense, modules, *context.calibration,
                                                             *context.evaluator, *context.log));
    std::vector<std::vector<double>> squares;
    for (const prune::ColumnStatistics& of : statistics)
      squares.push_back(of.square);
    prune::Scores scores = prune::output_scores(dense, modules, squares);
    prune::divide_by_cost(dense, modules, chosen().seq, scores);
    return prune::Ranking{.scores = std::move(scores)};
  }
};

}  // namespace

std::unique_ptr<Pass> make_prune_wanda() {
  return std::make_unique<PruneWanda>();
}

}  // namespace rtai::passes
