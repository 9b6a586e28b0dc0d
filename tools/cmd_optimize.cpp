// rtai optimize: pruned and quantized towards one goal.
#include "libopt/prune/plan.h"
#include "tools/cli.h"
#include "tools/flag_values.h"
#include "tools/optimization.h"
#include "tools/report/pruning.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>

namespace rtai::tools {
namespace {

struct OptimizeFlags {
  OptimizationFlags common;
  std::optional<double> speedup;
  std::optional<double> latency_ms;
  bool is_fastest = false;
  std::optional<double> refine_s;
  std::string mode = "dynamic";
  CalibrationFlags calibration;
  WeightFlags weights;
};

std::string quantization_of(const OptimizeFlags& flags) {
  return fmt::format("quantize-int8{{mode={}{}{}}}", flags.mode, flags.calibration.pass_options(),
                     flags.weights.pass_options());
}

/// The model now and in int8, as they are.
struct ModelTimes {
  TurnTimes floats;
  TurnTimes integers;
};

Result<ModelTimes> measure_baseline(Optimization& work) {
  constexpr int kRuns = 60;
  const ir::Graph& graph = *work.model().graph;
  std::vector<std::shared_ptr<const engine::Engine>> engines;
  for (const Deployment deployment : {Deployment::as_it_is, Deployment::int8}) {
    RTAI_TRY(auto engine, deployed_engine(graph, deployment));
    engines.push_back(std::move(engine));
  }
  RTAI_TRY(std::vector<TurnTimes> times, bench_in_turns(engines, work.workload(), kRuns));
  return ModelTimes{.floats = std::move(times[0]), .integers = std::move(times[1])};
}

/// What pruning must still add to int8, as an option of the pass; nothing if int8 is enough.
std::optional<std::string> goal_of_pruning(const OptimizeFlags& flags, const ModelTimes& baseline) {
  if (flags.latency_ms) {
    if (baseline.integers.latency.p50 <= *flags.latency_ms) return std::nullopt;
    return fmt::format("latency-ms={}", *flags.latency_ms);
  }
  const double by_int8 = baseline.floats.comparable_ms / baseline.integers.comparable_ms;
  if (by_int8 >= *flags.speedup) return std::nullopt;
  // Where int8 is slower than what it replaces (a tiny model), more is left than can be asked for.
  return fmt::format("speedup={}", std::min(*flags.speedup / by_int8, prune::Target::kMaxRatio));
}

std::string pruning_of(const OptimizeFlags& flags,
                       const Workload& workload,
                       const std::string& goal) {
  return fmt::format("prune-obs{{{},seq={},refine={}}}", goal, workload.seq,
                     flags.refine_s.value_or(0));
}

/// Prunes as far as the goal asks for beside int8, and quantizes.
Result<void> reach_goal(const OptimizeFlags& flags, Optimization& work) {
  RTAI_TRY(const ModelTimes baseline, measure_baseline(work));
  if (const std::optional<std::string> goal = goal_of_pruning(flags, baseline)) {
    work.log().info(fmt::format("int8 alone: {:.2f} ms; pruning with {}",
                                baseline.integers.latency.p50, *goal));
    work.evaluator().deploy_as(Deployment::int8);
    RTAI_TRY_VOID(work.run(pruning_of(flags, work.workload(), *goal)));
    work.evaluator().deploy_as(Deployment::as_it_is);
    describe_pruning(work.report().passes.back(), true, work.report());
  } else {
    work.log().warning(fmt::format("int8 alone reaches the goal with {:.2f} ms: nothing is pruned",
                                   baseline.integers.latency.p50));
  }
  return work.run(quantization_of(flags));
}

constexpr int kTries = 4;

/// Prunes as far as --max-drop allows beside int8, found by bisection over how many times faster
/// pruning makes it.
Result<void> reach_drop(const OptimizeFlags& flags, Optimization& work) {
  constexpr double kMost = 6;
  double kept = 1;
  double lost = kMost;
  std::optional<Trial> best;
  work.evaluator().deploy_as(Deployment::int8);
  for (int i = 0; i < kTries && !work.is_late(); ++i) {
    const double ratio = std::sqrt(kept * lost);
    const std::string pruning =
        pruning_of(flags, work.workload(), fmt::format("speedup={:.3f}", ratio));
    RTAI_TRY(Trial trial, work.try_instead(pruning + "," + quantization_of(flags)));
    const double points = loss_of(*work.report().quality_before, *trial.quality).points;
    work.report().tried.push_back({{"pruning", ratio}, {"points_lost", points}});
    const bool is_kept = points <= *flags.common.max_drop;
    const bool is_at_end = counter_of(trial.records.front(), "target met") == 0.0;
    (is_kept ? kept : lost) = ratio;
    if (is_kept) best = std::move(trial);
    if (is_kept && is_at_end) break;  // there is no more to prune
  }
  work.evaluator().deploy_as(Deployment::as_it_is);
  if (!best) {
    work.log().warning("all that was tried loses more than --max-drop allows: nothing is pruned");
    return work.run(quantization_of(flags));
  }
  work.adopt(*std::move(best));
  describe_pruning(work.report().passes.front(), true, work.report());
  return {};
}

/// What --dry-run tells.
std::vector<std::string> plan_of(const OptimizeFlags& flags) {
  if (flags.is_fastest) {
    return {
        fmt::format("prune with prune-obs and quantize, {} times, ever closer to {} points lost",
                    kTries, *flags.common.max_drop),
        "quantize: " + quantization_of(flags)};
  }
  return {"measure the model in int8",
          flags.latency_ms
              ? fmt::format("prune with prune-obs if int8 alone is above {} ms", *flags.latency_ms)
              : fmt::format("prune with prune-obs if int8 alone is less than {}x faster",
                            *flags.speedup),
          "quantize: " + quantization_of(flags)};
}

Result<int> run_optimize(const OptimizeFlags& flags, const GlobalFlags& global, Log& log) {
  RTAI_TRY_VOID(flags.calibration.check(flags.mode));
  RTAI_TRY(Optimization work, Optimization::start("optimize", flags.common, global, log));
  Json& request = work.report().request;
  request["mode"] = flags.mode;
  if (flags.speedup) request["speedup"] = *flags.speedup;
  if (flags.latency_ms) request["latency_ms"] = *flags.latency_ms;
  if (flags.is_fastest) request["fastest"] = true;
  if (flags.refine_s) request["refine_s"] = *flags.refine_s;
  flags.calibration.add_to(request);
  flags.weights.add_to(request);
  if (flags.common.dry_run) return work.print_plan(plan_of(flags));
  RTAI_TRY_VOID(flags.is_fastest ? reach_drop(flags, work) : reach_goal(flags, work));
  work.set_gate([&flags](const OptimizationReport& report) {
    return judge_time(report, flags.speedup, flags.latency_ms);
  });
  return work.finish();
}

}  // namespace

void add_optimize(Commands& commands) {
  auto flags = std::make_shared<OptimizeFlags>();
  CLI::App& command = *commands.app.add_subcommand(
      "optimize", "Prune as much as a goal asks for beside int8, and quantize");
  flags->common.add_to(command);
  flags->common.add_time_budget_to(command);
  CLI::Option_group& goal = *command.add_option_group("Goal", "What to reach");
  goal.add_option("--speedup", flags->speedup, "Times faster than the model is now")
      ->check(CLI::Range(1.0, prune::Target::kMaxRatio));
  goal.add_option("--latency", flags->latency_ms, "Milliseconds for one run; also 5ms, 0.2s")
      ->transform(as_milliseconds())
      ->check(above_zero());
  goal.add_flag("--fastest", flags->is_fastest,
                "As much as --max-drop allows: four prunings are tried, so it takes their time")
      ->needs(command.get_option("--max-drop"));
  goal.require_option(1);
  command
      .add_option("--refine", flags->refine_s,
                  "Seconds of gradient steps after pruning, towards the answers of the model as it "
                  "was")
      ->transform(as_seconds())
      ->check(above_zero());
  command.add_option("--mode", flags->mode, "Of quantization: dynamic, static or auto")
      ->check(CLI::IsMember({"auto", "dynamic", "static"}))
      ->capture_default_str();
  flags->calibration.add_to(command);
  flags->weights.add_to(command);
  command.footer(
      "Examples: rtai optimize model -o model.rtai --speedup 6 --calib texts.txt --eval "
      "test.jsonl\n"
      "          rtai optimize model -o model.rtai --fastest --max-drop 1 --calib texts.txt");
  command.callback([flags, &commands] {
    if (!flags->common.calibration)
      throw CLI::RequiredError("--calib (a few hundred plain texts like those to come)");
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_optimize(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
