// Removes the heads and FFN columns that the model's outputs miss least, and re-solves what stays.
//
//   before: 12 heads and 1536 FFN columns in every layer
//   after:  as many as the budget buys, different in every layer; modules may disappear
//
// Without labels and without training, from forward passes over plain texts:
//   1. second moments of what feeds each residual addition, and what the outputs make of errors of
//      it (Fisher information); structured optimal brain surgery gives each module an order of
//      removal and its weights at every level;
//   2. the divergence of the model's outputs with one module at a level, measured on held-back
//      texts (the local error alone misjudges early layers badly);
//   3. the levels of least total divergence within the budget, by dynamic programming;
//   4. from bottom to top, all linear layers solved again against the dense model's activations;
//   5. on request, gradient steps on all weights at once, towards the dense model's answers.
// Copies of the texts with words swapped serve in all steps: the dense model answers them.
#include "libopt/prune/fisher.h"
#include "libopt/prune/plan.h"
#include "libopt/prune/rebuild.h"
#include "libopt/prune/refine.h"
#include "libopt/prune/scores.h"
#include "libopt/prune/texts.h"
#include "passes/passes.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <thread>

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "prune-obs",
    .summary = "removes the heads and FFN columns that the outputs miss least, re-solves the rest",
    .source = "Kurtic et al. 2023, arXiv:2302.04089; Park et al. 2024, arXiv:2308.03449",
    .exactness = Exactness::approximate,
};

struct Options : prune::Target {
  std::string units = "any";
  std::string harm = "measured";
  std::string metric = "fisher";
  std::string rebuild = "all";
  double held_back = 0.25;
  double swap = 0.2;
  int copies = 2;
  int points = 5;
  double ridge = 0.01;
  double refine = 0;
  int refine_steps = 0;
  double refine_rate = 5e-5;
  int threads = 0;

  static constexpr auto fields() {
    return std::tuple_cat(
        prune::Target::fields(),
        std::tuple{
            option("units", &Options::units,
                   "what goes: any heads and columns, or layers as a whole"),
            option("harm", &Options::harm,
                   "measured: by the divergence of the outputs; local: by each module's own error"),
            option("metric", &Options::metric,
                   "how errors of a module count: fisher, by what the outputs make of them; plain"),
            option(
                "rebuild", &Options::rebuild,
                "what is solved again: all linear layers, outer (what feeds the residual), none"),
            option("held-back", &Options::held_back, Range{0.01, 0.9},
                   "share of the texts that only measure"),
            option("swap", &Options::swap, Range{0, 1},
                   "share of sub-words replaced in copies of the texts; 0: no copies"),
            option("copies", &Options::copies, Range{0, 16},
                   "copies of each text for the reconstruction"),
            option("points", &Options::points, Range{1, 64}, "levels measured in each module"),
            option("ridge", &Options::ridge, Range{0, 100},
                   "of least squares, as a share of the mean second moment"),
            option("refine", &Options::refine, Range{0, 1e6},
                   "seconds of gradient steps towards the dense model's answers; 0: none"),
            option("refine-steps", &Options::refine_steps, Range{0, 1e9},
                   "how many steps at most; 0: as many as the seconds allow"),
            option("refine-rate", &Options::refine_rate, Range{0, 1},
                   "how far a step goes at most"),
            option("threads", &Options::threads, Range{0, 1024},
                   "for statistics and solving; 0: all cores")});
  }
};

/// Tokens that memory and time are planned for; what goes beyond is left out.
constexpr Index kMostJudgeTokens = 8'192;
constexpr Index kMostFitTokens = 65'536;
constexpr Index kMostMetricTokens = 8'192;
constexpr int kMetricDraws = 4;
constexpr Index kMostRebuildTokens = 98'304;

/// Shares of a time budget after which sensitivities are guessed and the best candidate must do;
/// the rest is for the reconstruction.
constexpr double kTimeOfSensitivities = 0.4;
constexpr double kTimeOfChoice = 0.6;

/// The calibration texts in the roles they have.
struct Texts {
  TokenBatch all;      // as they are
  TokenBatch fit;      // statistics
  TokenBatch judge;    // divergence
  TokenBatch rebuild;  // reconstruction
  TokenBatch fresh;    // the report: words swapped as nowhere else
};

Error wrong_choice(std::string_view option, std::string_view expected, const std::string& found) {
  return {ErrorCode::invalid_input,
          fmt::format("option '{}': expected {}, found '{}'", option, expected, found)};
}

class PruneObs final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith::configure(values));
    if (chosen().units != "any" && chosen().units != "layers")
      return wrong_choice("units", "any or layers", chosen().units);
    if (chosen().harm != "measured" && chosen().harm != "local")
      return wrong_choice("harm", "measured or local", chosen().harm);
    if (chosen().metric != "fisher" && chosen().metric != "plain")
      return wrong_choice("metric", "fisher or plain", chosen().metric);
    if (chosen().rebuild != "all" && chosen().rebuild != "outer" && chosen().rebuild != "none")
      return wrong_choice("rebuild", "all, outer or none", chosen().rebuild);
    return chosen().check();
  }

  Result<PassReport> run(ir::Graph& graph, PassContext& context) override {
    if (context.calibration == nullptr || context.evaluator == nullptr)
      return Error{ErrorCode::invalid_input, "pruning needs calibration texts"};
    RTAI_TRY(const std::vector<prune::Module> modules, prune::find_modules(graph));
    const Texts texts = divide(*context.calibration, context.seed);
    const Index needed = tokens_needed(modules);
    const double ridge = checked_ridge(needed, texts.fit.tokens(), *context.log);
    Evaluator& evaluator = *context.evaluator;

    RTAI_TRY(const std::vector<prune::Snapshots> snapshots,
             snapshots_of(graph, modules, texts.fit, ridge, context));
    RTAI_TRY(const auto method, method_of(graph, snapshots, texts.judge, context));
    RTAI_TRY(const prune::Plan plan,
             prune::make_plan(chosen(), graph, modules, *method, &evaluator, *context.log,
                              [&] { return context.time.is_spent(kTimeOfChoice); }));

    ir::Graph student = graph;
    RTAI_TRY_VOID(put_weights(graph, student, snapshots, plan, texts, ridge, context));
    RTAI_TRY(prune::Judge fresh, prune::Judge::make(graph, texts.fresh, evaluator));
    RTAI_TRY(const prune::Refinement refinement,
             refine(graph, student, modules, plan, texts, fresh, context));
    prune::drop_empty_modules(student, modules, plan.kept);
    graph = std::move(student);
    PassReport report = report_of(modules, *method, plan, refinement);
    report.counters.push_back({"calibration tokens", static_cast<double>(texts.fit.tokens())});
    report.counters.push_back({"calibration tokens needed", static_cast<double>(needed)});
    report.counters.push_back({"ridge", ridge});
    return report;
  }

 private:
  int threads() const {
    if (chosen().threads > 0) return chosen().threads;
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  }

  Texts divide(const TokenBatch& calibration, std::uint64_t seed) const {
    const TokenBatch all = prune::first_tokens(prune::shuffled(calibration, seed), kMostFitTokens);
    const auto count = all.sequences();
    const auto share = static_cast<Index>(chosen().held_back * static_cast<double>(count));
    const Index held = std::min(std::max<Index>(share, 1), count);
    const bool swap = chosen().swap > 0;
    // A single text must do for everything.
    const TokenBatch judge = slice(all, 0, held);
    const TokenBatch fit = held < count ? slice(all, held, count) : all;
    const auto swapped = [&](const TokenBatch& texts, int copies, std::uint64_t salt) {
      return prune::swap_words(texts, swap ? copies : 0, chosen().swap, seed * 16 + salt);
    };
    return {
        .all = all,
        .fit = prune::concat(fit, swapped(fit, 1, 1)),
        .judge = prune::first_tokens(
            prune::shuffled(prune::concat(judge, swapped(judge, 1, 2)), seed), kMostJudgeTokens),
        .rebuild = prune::first_tokens(prune::concat(all, swapped(all, chosen().copies, 3)),
                                       kMostRebuildTokens),
        .fresh = prune::first_tokens(swapped(judge, 1, 4), kMostJudgeTokens),
    };
  }

  /// Tokens for a stable solution: twice as many as the widest layer has columns.
  static Index tokens_needed(std::span<const prune::Module> modules) {
    Index widest = 0;
    for (const prune::Module& module : modules)
      widest = std::max(widest, module.count * module.width);
    return 2 * widest;
  }

  /// The ridge, larger where there are too few tokens.
  double checked_ridge(Index needed, Index given, Log& log) const {
    if (given >= needed) return chosen().ridge;
    const double factor =
        static_cast<double>(needed) / static_cast<double>(std::max<Index>(given, 1));
    log.warning(
        fmt::format("{} calibration tokens, {} are needed for layers of {} columns; the "
                    "ridge is {:.1f} times larger",
                    given, needed, needed / 2, factor));
    return chosen().ridge * factor;
  }

  Result<std::vector<prune::Snapshots>> snapshots_of(const ir::Graph& graph,
                                                     std::span<const prune::Module> modules,
                                                     const TokenBatch& texts,
                                                     double ridge,
                                                     PassContext& context) const {
    RTAI_TRY(const std::vector<ir::Tensor> metrics, metrics_of(graph, modules, texts, context));
    return prune::take_snapshots(graph, modules, texts, *context.evaluator,
                                 {.ridge = ridge, .metrics = metrics, .threads = threads()},
                                 *context.log);
  }

  /// What the outputs make of errors of each module; nothing where all errors count alike.
  Result<std::vector<ir::Tensor>> metrics_of(const ir::Graph& graph,
                                             std::span<const prune::Module> modules,
                                             const TokenBatch& texts,
                                             PassContext& context) const {
    if (chosen().metric == "plain") return std::vector<ir::Tensor>();
    auto metrics = prune::output_metrics(
        graph, modules, prune::first_tokens(texts, kMostMetricTokens),
        {.draws = kMetricDraws, .seed = context.seed, .threads = threads()}, *context.log);
    if (metrics || metrics.error().code() == ErrorCode::device) return metrics;
    context.log->warning("errors of all modules count alike: " + metrics.error().message());
    return std::vector<ir::Tensor>();
  }

  /// How the budget is spent: by sensitivities, measured or not, of units or of whole layers.
  Result<std::unique_ptr<const prune::Method>> method_of(
      const ir::Graph& graph,
      std::span<const prune::Snapshots> snapshots,
      const TokenBatch& texts,
      PassContext& context) const {
    if (chosen().harm == "local" && chosen().units == "any") {
      std::vector<std::vector<double>> harms;
      for (const prune::Snapshots& module : snapshots)
        harms.push_back(prune::local_harm(module));
      return std::make_unique<prune::LevelMethod>(snapshots, std::move(harms));
    }
    RTAI_TRY(prune::Judge judge, prune::Judge::make(graph, texts, *context.evaluator));
    if (chosen().units == "layers") {
      RTAI_TRY(std::vector<double> harms,
               prune::measure_layer_harm(graph, snapshots, judge, *context.log));
      return std::make_unique<prune::LayerMethod>(snapshots, std::move(harms));
    }
    const auto is_late = [&] { return context.time.is_spent(kTimeOfSensitivities); };
    RTAI_TRY(auto harms,
             prune::measure_harm(graph, snapshots, judge, chosen().points, is_late, *context.log));
    return std::make_unique<prune::LevelMethod>(snapshots, std::move(harms));
  }

  /// Narrows `student` to the kept units and gives them new weights.
  Result<void> put_weights(const ir::Graph& dense,
                           ir::Graph& student,
                           std::span<const prune::Snapshots> snapshots,
                           const prune::Plan& plan,
                           const Texts& texts,
                           double ridge,
                           PassContext& context) const {
    std::vector<prune::Module> modules;
    for (std::size_t m = 0; m < snapshots.size(); ++m) {
      const prune::Snapshots& of = snapshots[m];
      modules.push_back(of.module);
      if (std::ssize(plan.kept[m]) == of.module.count) continue;
      if (chosen().rebuild == "none") {
        RTAI_TRY_VOID(prune::put_snapshot(student, of, of.path.level_of(std::ssize(plan.kept[m]))));
      } else {
        prune::keep_units(student, of.module, plan.kept[m]);
      }
    }
    if (chosen().rebuild == "none") return {};
    RTAI_TRY(const std::size_t rebuilt,
             prune::rebuild(
                 dense, student, modules, plan.kept, texts.rebuild, *context.evaluator,
                 {.ridge = ridge,
                  .refit = chosen().rebuild == "all" ? prune::Refit::all : prune::Refit::outer,
                  .threads = threads(),
                  .is_late = [&] { return context.time.is_spent(); }},
                 *context.log));
    if (rebuilt < modules.size())
      context.log->warning("the time is over: some modules have the weights of their own error");
    for (std::size_t m = rebuilt; m < modules.size(); ++m) {
      const prune::Snapshots& of = snapshots[m];
      if (std::ssize(plan.kept[m]) == of.module.count) continue;
      RTAI_TRY_VOID(prune::put_weights(student, of, of.path.level_of(std::ssize(plan.kept[m]))));
    }
    return {};
  }

  /// Gradient steps, if they are asked for; judged on `fresh` in any case.
  Result<prune::Refinement> refine(const ir::Graph& dense,
                                   ir::Graph& student,
                                   std::span<const prune::Module> modules,
                                   const prune::Plan& plan,
                                   const Texts& texts,
                                   prune::Judge& fresh,
                                   PassContext& context) const {
    if (chosen().refine == 0) {
      RTAI_TRY(const double divergence, fresh.divergence(student));
      return prune::Refinement{.before = divergence, .after = divergence};
    }
    return prune::refine(dense, student, modules, plan.kept, texts.all, fresh, *context.evaluator,
                         {.seconds = chosen().refine,
                          .steps = chosen().refine_steps,
                          .rate = chosen().refine_rate,
                          .swap = chosen().swap,
                          .threads = threads(),
                          .seed = context.seed,
                          .is_late = [&] { return context.time.is_spent(); }},
                         *context.log);
  }

  static PassReport report_of(std::span<const prune::Module> modules,
                              const prune::Method& method,
                              const prune::Plan& plan,
                              const prune::Refinement& refinement);
  /// What other budgets would buy: predicted cost and divergence.
  static FigureTable front(std::span<const prune::Module> modules,
                           const prune::Method& method,
                           const prune::Plan& plan);
};

PassReport PruneObs::report_of(std::span<const prune::Module> modules,
                               const prune::Method& method,
                               const prune::Plan& plan,
                               const prune::Refinement& refinement) {
  PassReport report = prune::describe(modules, plan);
  FigureTable& table = report.tables.front();
  table.columns.push_back("divergence");
  for (std::size_t m = 0; m < modules.size(); ++m)
    table.rows[m].push_back(method.harm(m, std::ssize(plan.kept[m])));
  report.tables.push_back(front(modules, method, plan));
  report.counters.push_back({"divergence on fresh texts", refinement.after});
  if (refinement.steps > 0) {
    report.counters.push_back({"refinement steps", static_cast<double>(refinement.steps)});
    report.counters.push_back({"divergence before refinement", refinement.before});
  }
  return report;
}

FigureTable PruneObs::front(std::span<const prune::Module> modules,
                            const prune::Method& method,
                            const prune::Plan& plan) {
  FigureTable table{.name = "front", .columns = {"cost", "divergence"}, .rows = {}};
  std::vector<std::size_t> all(modules.size());
  std::iota(all.begin(), all.end(), std::size_t{0});
  for (const double ratio : {1.1, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 6.0, 8.0}) {
    const double budget = plan.dense_cost / ratio - plan.costs.rest;
    const auto kept = method.within(all, plan.costs.modules, budget);
    if (!kept) break;
    double harm = 0;
    for (std::size_t m = 0; m < modules.size(); ++m)
      harm += method.harm(m, std::ssize((*kept)[m]));
    table.rows.push_back({plan.costs.of(modules, *kept), harm});
  }
  return table;
}

}  // namespace

std::unique_ptr<Pass> make_prune_obs() {
  return std::make_unique<PruneObs>();
}

}  // namespace rtai::passes
