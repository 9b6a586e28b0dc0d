// rtai eval: how right a model is on labelled data, and how often it agrees with another.
#include "tools/cli.h"
#include "tools/gates.h"
#include "tools/json.h"
#include "tools/metrics.h"
#include "tools/workload.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

struct EvalFlags {
  std::string model;
  std::string data;
  std::optional<std::string> reference;
  std::optional<std::string> json;
  std::vector<std::string> fail_if;
  int threads = 0;
  std::string target;
};

Json optional_json(const std::optional<double>& value) {
  return value ? Json(*value) : Json(nullptr);
}

std::string why_not_measured(const std::vector<Sample>& samples) {
  const auto lacking = std::ranges::find_if_not(samples, is_labelled);
  const bool has_some = std::ranges::any_of(samples, is_labelled);
  return has_some && lacking != samples.end()
             ? fmt::format("sample {} has no label", lacking - samples.begin() + 1)
             : "the data has no labels for it";
}

Result<int> run_eval(const EvalFlags& flags, const GlobalFlags& global, Log& log) {
  RTAI_TRY(const std::vector<Gate> gates, parse_gates(flags.fail_if));
  RTAI_TRY(const Model model, load_model(flags.model, log));
  RTAI_TRY(const std::vector<Sample> samples, read_samples(flags.data));
  RTAI_TRY_VOID(check_labels(model, samples, log).in(flags.data));
  RTAI_TRY(const Evaluation evaluation, evaluate(model, samples, flags.threads, flags.target, log));
  std::optional<double> agreed;
  std::optional<double> reference_value;
  std::optional<double> drop;
  if (flags.reference) {
    RTAI_TRY(const Model reference, load_model(*flags.reference, log));
    if (reference.task != model.task) {
      return Error{
          ErrorCode::unsupported,
          fmt::format("{}: is for {}, {} for {}; such answers cannot be compared", *flags.reference,
                      task_name(reference.task), flags.model, task_name(model.task))};
    }
    RTAI_TRY(const Evaluation other,
             evaluate(reference, samples, flags.threads, flags.target, log));
    agreed = agreement(model, evaluation.answers, reference, other.answers);
    reference_value = other.score.value;
    if (reference_value && evaluation.score.value)
      drop = 100 * (*reference_value - *evaluation.score.value);
  }

  if (flags.json) {
    RTAI_TRY_VOID(write_json({{"model", flags.model},
                              {"samples", samples.size()},
                              {"metric", evaluation.score.metric},
                              {"value", optional_json(evaluation.score.value)},
                              {"agreement", optional_json(agreed)},
                              {"reference_value", optional_json(reference_value)},
                              {"drop_points", optional_json(drop)}},
                             *flags.json));
  }
  if (!is_stdout(flags.json)) {
    std::string text = fmt::format("{}: {} samples\n", flags.model, samples.size());
    text += evaluation.score.value
                ? fmt::format("  {:<10} {:.4f}\n", evaluation.score.metric, *evaluation.score.value)
                : fmt::format("  {:<10} not measured: {}{}\n", evaluation.score.metric,
                              why_not_measured(samples),
                              flags.reference ? "" : "; --reference measures agreement");
    if (reference_value)
      text +=
          fmt::format("  {:<10} {:.4f} ({:+.2f} points)\n", "reference", *reference_value, -*drop);
    if (agreed) text += fmt::format("  {:<10} {:.2f} %\n", "agreement", 100 * *agreed);
    print(global, text);
  }
  Figures figures;
  if (evaluation.score.value) figures[evaluation.score.metric] = *evaluation.score.value;
  if (evaluation.score.value) figures["value"] = *evaluation.score.value;
  if (agreed) figures["agreement"] = *agreed;
  if (drop) figures["drop_points"] = *drop;
  RTAI_TRY(const std::vector<std::string> missed, missed_gates(gates, figures));
  for (const std::string& line : missed)
    log.warning("gate missed: " + line);
  return missed.empty() ? 0 : exit_code(ErrorCode::gate);
}

}  // namespace

void add_eval(Commands& commands) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App& command = *commands.app.add_subcommand("eval", "Score a model on labelled data");
  command.add_option("model", flags->model, "ONNX file, folder or engine")->required();
  command
      .add_option("--data", flags->data,
                  "Labelled .jsonl, .csv or .tsv file, or texts for agreement alone")
      ->type_name("FILE")
      ->required();
  command.add_option("--reference", flags->reference, "Model to compare the answers with");
  command.add_option("--threads", flags->threads, "Threads (default: usable cores)")
      ->check(CLI::Range(1, 1024));
  command.add_option("--target", flags->target, "Instruction set to use");
  command
      .add_option("--json", flags->json,
                  "Write the result as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.add_option("--fail-if", flags->fail_if,
                     "Exit with 7 if this holds, as in 'accuracy<0.9'");
  command.footer(
      "Example: rtai eval model.rtai --data test.jsonl --reference model.onnx --fail-if "
      "'drop_points>1'");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_eval(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
