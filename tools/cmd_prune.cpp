// rtai prune: a smaller dense model, with what it cost and won.
#include "libopt/prune/plan.h"
#include "tools/cli.h"
#include "tools/flag_values.h"
#include "tools/optimization.h"
#include "tools/report/pruning.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>

namespace rtai::tools {
namespace {

struct PruneFlags {
  OptimizationFlags common;
  std::string method = "obs";
  std::optional<double> speedup;
  std::optional<double> latency_ms;
  std::optional<double> flops;
  std::optional<double> parameters;
  std::optional<double> keep_heads;
  std::optional<double> keep_ffn;
  std::string drop_layers;
  std::string dtype = "int8";
  std::optional<double> refine_s;
  std::string options;  // further ones of the pass, as in a pipeline
  bool controls = false;

  bool names_layers() const { return !drop_layers.empty() && drop_layers != "auto"; }
  bool has_budget() const { return speedup || latency_ms || flops || parameters; }
};

/// Methods of others, for comparison.
constexpr std::array kControls = {"magnitude", "wanda", "flap", "kwon"};

/// Weights alone decide for magnitude, and nothing for layers that are named.
bool needs_texts(const PruneFlags& flags) {
  return !flags.names_layers() && (flags.method != "magnitude" || flags.controls);
}

/// What is wrong with flags that depend on each other's values: more than CLI11 can declare.
void check(const PruneFlags& flags) {
  const bool has_shares = flags.keep_heads || flags.keep_ffn;
  if (flags.names_layers() && (flags.has_budget() || has_shares || flags.controls))
    throw CLI::ValidationError("--drop-layers", "a list of layers is a target by itself");
  if (flags.drop_layers == "auto" && (!flags.has_budget() || flags.method != "obs")) {
    throw CLI::ValidationError(
        "--drop-layers", "auto needs --speedup, --latency, --flops or --params, and --method obs");
  }
  if (flags.refine_s && (flags.method != "obs" || flags.names_layers()))
    throw CLI::ValidationError("--refine", "only --method obs refines what it leaves");
  if (needs_texts(flags) && !flags.common.calibration)
    throw CLI::RequiredError("--calib (a few hundred plain texts like those to come)");
}

/// The pass of a method with the target as its options.
std::string pipeline_of(const PruneFlags& flags,
                        const std::string& method,
                        const Workload& workload,
                        Json& request) {
  if (!flags.drop_layers.empty()) request["drop_layers"] = flags.drop_layers;
  if (flags.names_layers()) {
    std::string list = flags.drop_layers;
    std::ranges::replace(list, ',', ';');
    return fmt::format("drop-layers{{layers={}}}", list);
  }
  std::vector<std::string> options;
  const auto add = [&](std::string_view option, const char* key,
                       const std::optional<double>& value) {
    if (!value) return;
    options.push_back(fmt::format("{}={}", option, *value));
    request[key] = *value;
  };
  add("speedup", "speedup", flags.speedup);
  add("latency-ms", "latency_ms", flags.latency_ms);
  add("flops", "flops", flags.flops);
  add("parameters", "parameters", flags.parameters);
  add("keep-heads", "keep_heads", flags.keep_heads);
  add("keep-ffn", "keep_ffn", flags.keep_ffn);
  options.push_back(fmt::format("seq={}", workload.seq));
  if (method == flags.method) {
    if (flags.drop_layers == "auto") options.push_back("units=layers");
    add("refine", "refine_s", flags.refine_s);
    if (!flags.options.empty()) options.push_back(flags.options);
    request["method"] = method;
  }
  return fmt::format("prune-{}{{{}}}", method, fmt::join(options, ","));
}

/// What every control makes of the same target, beside what was chosen.
Result<void> run_controls(const PruneFlags& flags, Optimization& work) {
  const bool is_time = flags.speedup || flags.latency_ms;
  RTAI_TRY(const double own, work.divergence_of(*work.model().graph));
  describe_candidate(work.report().passes.back(), is_time, own, work.report());
  work.report().candidates.back()["chosen"] = true;
  for (const std::string method : kControls) {
    if (method == flags.method) continue;
    Json ignored;
    RTAI_TRY(const Trial trial,
             work.try_instead(pipeline_of(flags, method, work.workload(), ignored)).in(method));
    RTAI_TRY(const double divergence, work.divergence_of(trial.graph));
    describe_candidate(trial.records.back(), is_time, divergence, work.report());
    Json& candidate = work.report().candidates.back();
    candidate["method"] = method;
    candidate["control"] = true;
    candidate["quality"] = quality_json(trial.quality);
  }
  return {};
}

/// Time targets are judged by what is measured in the end, the others by the pass.
std::optional<Verdict> judge_target(const PruneFlags& flags, const OptimizationReport& report) {
  if (auto verdict = judge_time(report, flags.speedup, flags.latency_ms)) return verdict;
  if (!flags.flops && !flags.parameters) return std::nullopt;
  const bool is_missed = counter_of(report.passes.back(), "target met") == 0.0;
  return Verdict{.text = fmt::format("{}: {}",
                                     flags.flops ? fmt::format("flops {}", *flags.flops)
                                                 : fmt::format("params {}", *flags.parameters),
                                     is_missed ? "not to be reached" : "reached"),
                 .is_missed = is_missed};
}

Result<int> run_prune(const PruneFlags& flags, const GlobalFlags& global, Log& log) {
  const Deployment deployment = flags.dtype == "int8" ? Deployment::int8 : Deployment::as_it_is;
  RTAI_TRY(Optimization work, Optimization::start("prune", flags.common, global, log, deployment));
  const std::string pipeline =
      pipeline_of(flags, flags.method, work.workload(), work.report().request);
  work.report().request["dtype"] = flags.dtype;
  if (flags.common.dry_run) return work.print_plan({"prune: " + pipeline});
  RTAI_TRY_VOID(work.run(pipeline));
  describe_pruning(work.report().passes.back(), flags.speedup || flags.latency_ms, work.report());
  if (flags.controls) RTAI_TRY_VOID(run_controls(flags, work));
  work.set_gate([&flags](const OptimizationReport& report) { return judge_target(flags, report); });
  return work.finish();
}

}  // namespace

void add_prune(Commands& commands) {
  auto flags = std::make_shared<PruneFlags>();
  CLI::App& command = *commands.app.add_subcommand(
      "prune", "Remove heads, FFN columns and layers; the result is smaller and dense");
  flags->common.add_to(command);
  flags->common.add_time_budget_to(command);
  CLI::Option_group& target = *command.add_option_group("Target", "What to reach");
  target.add_option("--speedup", flags->speedup, "Times faster, measured as deployed")
      ->check(CLI::Range(1.0, prune::Target::kMaxRatio));
  target
      .add_option("--latency", flags->latency_ms,
                  "Milliseconds for one run, measured as deployed; also 5ms, 0.2s")
      ->transform(as_milliseconds())
      ->check(above_zero());
  target.add_option("--flops", flags->flops, "Times fewer multiply-adds in the encoder")
      ->check(CLI::Range(1.0, prune::Target::kMaxRatio));
  target
      .add_option("--params", flags->parameters,
                  "Parameters that the whole model may have; also 15M, 200K")
      ->transform(as_count())
      ->check(above_zero());
  CLI::Option* heads =
      target.add_option("--keep-heads", flags->keep_heads, "Share of heads to keep")
          ->check(CLI::Range(0.0, 1.0));
  CLI::Option* ffn =
      target.add_option("--keep-ffn", flags->keep_ffn, "Share of FFN columns to keep")
          ->check(CLI::Range(0.0, 1.0));
  CLI::Option* layers = target.add_option(
      "--drop-layers", flags->drop_layers,
      "Layers to remove whole, as 3,5; auto: only whole layers go, as many as the target asks for");
  for (CLI::Option* option : target.get_options()) {
    for (CLI::Option* other : target.get_options()) {
      const bool together = (option == heads || option == ffn) && (other == heads || other == ffn);
      const bool checked = option == layers || other == layers;
      if (option != other && !together && !checked) option->excludes(other);
    }
  }
  target.require_option(1, 2);
  command.add_option("--method", flags->method, "obs; controls: magnitude, wanda, flap, kwon")
      ->check(CLI::IsMember({"obs", "magnitude", "wanda", "flap", "kwon"}))
      ->capture_default_str();
  command.add_option("--dtype", flags->dtype, "What will be deployed, for measured times")
      ->check(CLI::IsMember({"int8", "f32"}))
      ->capture_default_str();
  command
      .add_option("--refine", flags->refine_s,
                  "Seconds of gradient steps towards the answers of the model as it was")
      ->transform(as_seconds())
      ->check(above_zero());
  command.add_option(
      "--pass-options", flags->options,
      "Further options of the pass, as `rtai passes` lists them: ridge=0.1,copies=0");
  command.add_flag("--controls", flags->controls,
                   "Also try every control at the same target; the report shows them all");
  command.footer(
      "Example: rtai prune model -o pruned --speedup 2 --calib texts.txt --eval test.jsonl");
  command.callback([flags, &commands] {
    check(*flags);
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_prune(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
