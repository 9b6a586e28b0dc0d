// Removes the heads and FFN columns whose activations fluctuate least, and keeps their means as a
// bias: a control.
//
// A unit's score is the mean over its columns of Var x * |w|^2, standardized within each module so
// that all can be ranked together.
#include "libopt/prune/control.h"
#include "passes/passes.h"

#include <algorithm>
#include <cmath>

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "prune-flap",
    .summary = "removes the heads and FFN columns that fluctuate least, keeps means (a control)",
    .source = "An et al. 2024, arXiv:2312.11983",
    .exactness = Exactness::approximate,
};

/// Mean 0, standard deviation 1; all zeros where the values do not differ.
void standardize(std::vector<double>& values) {
  double mean = 0;
  for (const double value : values)
    mean += value / static_cast<double>(values.size());
  double variance = 0;
  for (const double value : values)
    variance += (value - mean) * (value - mean);
  variance /= std::max(1.0, static_cast<double>(values.size()) - 1);
  for (double& value : values)
    value = variance > 0 ? (value - mean) / std::sqrt(variance) : 0;
}

class PruneFlap final : public prune::Control<prune::Target, prune::Reads::texts> {
 public:
  const PassInfo& info() const override { return kInfo; }

 private:
  Result<prune::Ranking> rank(const ir::Graph& dense,
                              std::span<const prune::Module> modules,
                              PassContext& context) const override {
    RTAI_TRY(const auto statistics, prune::column_statistics(dense, modules, *context.calibration,
                                                             *context.evaluator, *context.log));
    std::vector<std::vector<double>> variances;
    for (const prune::ColumnStatistics& of : statistics) {
      variances.push_back(of.square);
      for (std::size_t c = 0; c < of.mean.size(); ++c)
        variances.back()[c] -= of.mean[c] * of.mean[c];
    }
    prune::Scores scores = prune::output_scores(dense, modules, variances);
    std::ranges::for_each(scores, standardize);
    const auto apply = [modules, statistics](ir::Graph& graph,
                                             const prune::Kept& kept) -> Result<void> {
      for (std::size_t m = 0; m < modules.size(); ++m)
        prune::compensate_means(graph, modules[m], kept[m], statistics[m]);
      graph = prune::narrowed(graph, modules, kept);
      return {};
    };
    return prune::Ranking{.scores = std::move(scores), .apply = apply};
  }
};

}  // namespace

std::unique_ptr<Pass> make_prune_flap() {
  return std::make_unique<PruneFlap>();
}

}  // namespace rtai::passes
