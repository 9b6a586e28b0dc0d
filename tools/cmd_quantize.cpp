// rtai quantize: weights and activations as int8, with what it cost.
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"
#include "tools/cli.h"
#include "tools/engine_evaluator.h"
#include "tools/metrics.h"
#include "tools/model.h"
#include "tools/optimization.h"
#include "tools/workload.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <chrono>

namespace rtai::tools {
namespace {

struct QuantizeFlags {
  OptimizationFlags common;
  std::string mode = "dynamic";
  std::vector<std::string> keep_float;
  std::string options;  // further ones of the pass, as in a pipeline
};

Result<int> run_quantize(const QuantizeFlags& flags, const GlobalFlags& global, Log& log) {
  RTAI_TRY(Optimization work, Optimization::start("quantize", flags.common, global, log));
  std::string pipeline = fmt::format("quantize-int8{{mode={}", flags.mode);
  if (!flags.keep_float.empty())
    pipeline += fmt::format(",keep-float={}", fmt::join(flags.keep_float, ";"));
  if (!flags.options.empty()) pipeline += "," + flags.options;
  pipeline += "}";
  if (flags.common.dry_run) return work.print_plan({"quantize: " + pipeline});
  work.report().request = {{"mode", flags.mode}, {"keep_float", flags.keep_float}};
  RTAI_TRY_VOID(work.run(pipeline));
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
                  "keeps the quality, layer by layer")
      ->check(CLI::IsMember({"auto", "dynamic", "static"}))
      ->capture_default_str();
  command.add_option("--keep-float", flags->keep_float, "Layers to leave as they are, as 'head.*'");
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
