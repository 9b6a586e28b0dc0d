// Removes the heads and FFN columns of least Fisher information, then tunes what stays: a control.
//
//   1. derivatives of -log p(answer) by a mask on every unit, for answers drawn from the model;
//   2. units by their mean squared derivative per multiply-add, those of the whole model together
//      (all heads cost the same and so do all columns, so this is the paper's search up to a unit);
//   3. within each module, units exchanged for what they do together (mask rearrangement);
//   4. one factor for each unit, by least squares from bottom to top (mask tuning). With
//      rebuild=outer or all the layers are solved again instead, as prune-obs does it.
//
// The paper uses 2,048 labelled texts; here nothing is labelled.
#include "libopt/prune/control.h"
#include "libopt/prune/fisher.h"
#include "libopt/prune/rebuild.h"
#include "libopt/prune/texts.h"
#include "passes/passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "prune-kwon",
    .summary = "removes the heads and FFN columns of least Fisher information (a control)",
    .source = "Kwon et al. 2022, arXiv:2204.09656, without labels",
    .exactness = Exactness::approximate,
};

/// As many as in the paper; what goes beyond is left out.
constexpr Index kMostTexts = 2'048;

struct Options : prune::Target {
  std::string rebuild = "scales";
  int draws = 2;
  double ridge = 0.01;
  int threads = 0;

  static constexpr auto fields() {
    return std::tuple_cat(
        prune::Target::fields(),
        std::tuple{
            option("rebuild", &Options::rebuild,
                   "what is solved again: scales (a factor for each unit), outer (what feeds the "
                   "residual), all linear layers, none"),
            option("draws", &Options::draws, Range{1, 64}, "answers drawn for each text"),
            option("ridge", &Options::ridge, Range{0, 100},
                   "of least squares, as a share of the mean second moment"),
            option("threads", &Options::threads, Range{0, 1024},
                   "for derivatives and solving; 0: all cores")});
  }

  Result<void> check() const {
    constexpr std::string_view kKinds[] = {"scales", "outer", "all", "none"};
    if (std::ranges::find(kKinds, rebuild) == std::end(kKinds)) {
      return Error{ErrorCode::invalid_input,
                   fmt::format("option 'rebuild': expected scales, outer, all or none, found '{}'",
                               rebuild)};
    }
    return Target::check();
  }

  prune::Refit refit() const {
    if (rebuild == "scales") return prune::Refit::scales;
    return rebuild == "outer" ? prune::Refit::outer : prune::Refit::all;
  }
};

class PruneKwon final : public prune::Control<Options, prune::Reads::texts> {
 public:
  const PassInfo& info() const override { return kInfo; }

 private:
  int threads() const {
    if (chosen().threads > 0) return chosen().threads;
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }

  Result<prune::Ranking> rank(const ir::Graph& dense,
                              std::span<const prune::Module> modules,
                              PassContext& context) const override {
    const TokenBatch texts =
        slice(*context.calibration, 0, std::min(kMostTexts, context.calibration->sequences()));
    RTAI_TRY(
        std::vector<ir::Tensor> derivatives,
        prune::mask_derivatives(
            dense, modules, texts,
            {.draws = chosen().draws, .seed = context.seed, .threads = threads()}, *context.log));
    prune::Scores scores = prune::fisher_scores(derivatives);
    prune::divide_by_cost(dense, modules, chosen().seq, scores);
    const auto apply = [this, modules, texts, &context, rows = std::move(derivatives)](
                           ir::Graph& graph, prune::Kept kept) -> Result<void> {
      for (std::size_t m = 0; m < modules.size(); ++m)
        kept[m] = prune::rearranged(kept[m], rows[m]);
      return put(graph, modules, kept, texts, context);
    };
    return prune::Ranking{.scores = std::move(scores), .apply = apply};
  }

  Result<void> put(ir::Graph& graph,
                   std::span<const prune::Module> modules,
                   const prune::Kept& kept,
                   const TokenBatch& texts,
                   PassContext& context) const {
    ir::Graph student = graph;
    for (std::size_t m = 0; m < modules.size(); ++m) {
      if (std::ssize(kept[m]) < modules[m].count) prune::keep_units(student, modules[m], kept[m]);
    }
    if (chosen().rebuild != "none") {
      RTAI_TRY_VOID(
          prune::rebuild(graph, student, modules, kept, texts, *context.evaluator,
                         {.ridge = chosen().ridge, .refit = chosen().refit(), .threads = threads()},
                         *context.log));
    }
    prune::drop_empty_modules(student, modules, kept);
    graph = std::move(student);
    return {};
  }
};

}  // namespace

std::unique_ptr<Pass> make_prune_kwon() {
  return std::make_unique<PruneKwon>();
}

}  // namespace rtai::passes
