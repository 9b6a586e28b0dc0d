// Removes the heads and FFN columns with the smallest weights: the control that knows no data.
//
// A unit's score is the squared norm of all weights that belong to it, per multiply-add that it
// costs; all units of the model are ranked together. Nothing that stays is changed.
#include "libopt/prune/control.h"
#include "passes/passes.h"

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "prune-magnitude",
    .summary = "removes the heads and FFN columns with the smallest weights (a control)",
    .source = "Han et al. 2015, arXiv:1506.02626, for whole units",
    .exactness = Exactness::approximate,
};

class PruneMagnitude final : public prune::Control<prune::Target, prune::Reads::nothing> {
 public:
  const PassInfo& info() const override { return kInfo; }

 private:
  Result<prune::Ranking> rank(const ir::Graph& dense,
                              std::span<const prune::Module> modules,
                              PassContext&) const override {
    prune::Scores scores = prune::magnitude_scores(dense, modules);
    prune::divide_by_cost(dense, modules, chosen().seq, scores);
    return prune::Ranking{.scores = std::move(scores)};
  }
};

}  // namespace

std::unique_ptr<Pass> make_prune_magnitude() {
  return std::make_unique<PruneMagnitude>();
}

}  // namespace rtai::passes
