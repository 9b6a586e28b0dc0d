// rtai quantize: weights and activations as int8, or weights as int4, with what it cost.
#include "tools/cli.h"
#include "tools/optimization.h"
#include "tools/report/pruning.h"
#include "tools/report/quantizing.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <optional>

namespace rtai::tools {
namespace {

struct QuantizeFlags {
  OptimizationFlags common;
  std::string mode;  // empty: auto with calibration texts, else dynamic
  std::vector<std::string> keep_float;
  CalibrationFlags calibration;
  WeightFlags weights;
  std::string options;  // further ones of the pass, as in a pipeline
};

std::string pipeline_of(const QuantizeFlags& flags, std::optional<double> max_divergence) {
  std::string pipeline = fmt::format("quantize-int8{{mode={}", flags.mode);
  if (!flags.keep_float.empty())
    pipeline += fmt::format(",keep-float={}", fmt::join(flags.keep_float, ";"));
  pipeline += flags.calibration.pass_options() + flags.weights.pass_options();
  if (!flags.options.empty()) pipeline += "," + flags.options;
  if (max_divergence) pipeline += fmt::format(",max-divergence={:.3g}", *max_divergence);
  return pipeline + "}";
}

/// Runs the pass; where `auto` changes too many answers, again with a narrower bound.
Result<void> quantize(const QuantizeFlags& flags, Optimization& work) {
  constexpr int kRounds = 5;
  constexpr double kNarrower = 0.1;
  RTAI_TRY_VOID(work.run(pipeline_of(flags, std::nullopt)));
  for (int round = 1; flags.mode == "auto" && round < kRounds; ++round) {
    RTAI_TRY(const bool agrees, work.agrees());
    const auto reached = counter_of(work.report().passes.back(), "divergence");
    if (agrees || !reached || flags.options.find("max-divergence") != std::string::npos) break;
    work.log().warning(
        fmt::format("too many answers change at a divergence of {:.2g}: trying less", *reached));
    work.start_over();
    RTAI_TRY_VOID(work.run(pipeline_of(flags, kNarrower * *reached)));
  }
  return {};
}

Result<int> run_quantize(QuantizeFlags flags, const GlobalFlags& global, Log& log) {
  if (flags.mode.empty()) flags.mode = flags.common.calibration ? "auto" : "dynamic";
  RTAI_TRY_VOID(flags.calibration.check(flags.mode));
  RTAI_TRY(Optimization work, Optimization::start("quantize", flags.common, global, log));
  if (flags.common.dry_run)
    return work.print_plan({"quantize: " + pipeline_of(flags, std::nullopt)});
  work.report().request = {{"mode", flags.mode}, {"keep_float", flags.keep_float}};
  flags.calibration.add_to(work.report().request);
  flags.weights.add_to(work.report().request);
  RTAI_TRY_VOID(quantize(flags, work));
  describe_quantization(*work.model().graph, work.report().passes.back(), work.report());
  return work.finish();
}

}  // namespace

void add_quantize(Commands& commands) {
  auto flags = std::make_shared<QuantizeFlags>();
  CLI::App& command =
      *commands.app.add_subcommand("quantize", "Store weights as int8 and compute in int8");
  flags->common.add_to(command);
  command
      .add_option("--mode", flags->mode,
                  "dynamic: a scale for each token; static: one, from calibration; auto: what "
                  "keeps the quality, layer by layer. Default: auto with --calib, else dynamic")
      ->check(CLI::IsMember({"auto", "dynamic", "static"}));
  flags->calibration.add_to(command);
  command.add_option("--keep-float", flags->keep_float, "Layers to leave as they are, as 'head.*'");
  flags->weights.add_to(command);
  command.add_option("--pass-options", flags->options,
                     "Further options of the pass, as `rtai passes` lists them: attention=f32");
  command.footer(
      "Example: rtai quantize model -o model.rtai --calib texts.txt --eval test.jsonl --max-drop "
      "1");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_quantize(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
