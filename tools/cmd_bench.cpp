// rtai bench: latency of models on workloads, measured in turn.
#include "runtime/kernels/target.h"
#include "tools/baseline.h"
#include "tools/bench.h"
#include "tools/cli.h"
#include "tools/cli_description.h"
#include "tools/flag_values.h"
#include "tools/gates.h"
#include "tools/json.h"
#include "tools/machine.h"
#include "tools/metrics.h"
#include "tools/model.h"
#include "tools/remote.h"
#include "tools/report/bench.h"
#include "tools/report/bench_page.h"
#include "tools/report/files.h"
#include "tools/sweep.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace rtai::tools {
namespace {

constexpr const char* kLoadGroup = "Load on a URL";
/// Flags of all that is measured, models and servers.
constexpr std::array<std::string_view, 3> kForBoth = {"--duration", "--json", "--fail-if"};

struct BenchFlags {
  std::vector<std::string> models;
  WorkloadFlags workload;
  BenchOptions options;
  bool has_iterations = false;  // then nothing but --duration asks for a time
  bool has_duration = false;
  std::optional<std::string> sweep;
  std::optional<std::string> evaluation;
  std::string format = "text";
  std::optional<std::string> json;
  std::optional<std::string> save;
  std::optional<std::string> against;
  bool relative = false;
  ReportFlags reports;
  std::vector<std::string> fail_if;
  LoadFlags load;
  std::vector<std::string> for_models;   // given, but they say nothing of a server
  std::vector<std::string> for_servers;  // nor these of models
};

/// Answers the labelled texts with every model; all results of a model get the same quality.
Result<void> judge_quality(std::vector<BenchResult>& results,
                           const std::vector<LoadedModel>& models,
                           const std::string& data,
                           const Workload& workload,
                           Log& log) {
  RTAI_TRY(const std::vector<Sample> samples, read_samples(data));
  std::optional<Model> first;
  std::vector<Answer> first_answers;
  for (std::size_t i = 0; i < models.size(); ++i) {
    RTAI_TRY(Model model, load_model(models[i].name, log));
    RTAI_TRY(Evaluation evaluation,
             evaluate(model, samples, workload.threads, workload.target, log));
    Quality quality{evaluation.score.metric, evaluation.score.value, std::nullopt};
    if (first) quality.agreement = agreement(model, evaluation.answers, *first, first_answers);
    for (std::size_t r = i; r < results.size(); r += models.size())
      results[r].quality = quality;
    if (first) continue;
    first = std::move(model);
    first_answers = std::move(evaluation.answers);
  }
  return {};
}

/// Figures of every result, and of what each is compared with: --against, or the first model.
Result<void> judge_gates_of(BenchReport& report,
                            const std::vector<Gate>& gates,
                            const std::optional<Baseline>& baseline) {
  const Json document = report.json();
  Figures of_first;
  for (std::size_t i = 0; i < report.results.size(); ++i) {
    BenchResult& result = report.results[i];
    const Figures figures = figures_of(document["results"][i]);
    Figures before = of_first;
    if (!result.against_first) {
      of_first = figures;
      before.clear();
    }
    if (baseline) {
      RTAI_TRY(before, baseline->figures_for(result));
      result.baseline_p50_ms = before.at("p50_ms");
    }
    for (const Gate& gate : gates) {
      // The first model is what the others are compared with.
      if (gate.times_baseline && before.empty() && i + 1 < report.results.size() &&
          report.results[i + 1].against_first)
        continue;
      RTAI_TRY(const std::vector<JudgedGate> judged, judge_gates({gate}, figures, before));
      result.gates.insert(result.gates.end(), judged.begin(), judged.end());
    }
  }
  return {};
}

std::string formatted(const BenchReport& report, const std::string& format) {
  if (format == "json") return pretty(report.json());
  if (format == "jsonl") return report.json_lines();
  if (format == "csv") return report.csv();
  if (format == "md") return report.markdown();
  if (format == "junit") return report.junit();
  if (format == "gha") return report.action_benchmark();
  return report.text();
}

Result<void> write_results(const BenchFlags& flags,
                           const GlobalFlags& global,
                           const BenchReport& report) {
  const bool is_text = flags.format == "text";
  if (!is_stdout(flags.json))
    print(is_text ? global : GlobalFlags{}, formatted(report, flags.format));
  if (flags.json) RTAI_TRY_VOID(write_json(report.json(), *flags.json));
  if (flags.save) RTAI_TRY_VOID(write_json(report.json(), *flags.save));
  return write_reports(flags.reports, {.html = [&] { return bench_html(report); },
                                       .markdown = [&] { return report.markdown(); },
                                       .junit = [&] { return report.junit(); }});
}

Result<void> check_streams(const Workload& workload, const BenchOptions& options) {
  RTAI_TRY_VOID(threads_of_a_stream(workload));
  if (options.profile && workload.streams > 1)
    return invalid_input(fmt::format("--streams {}: expected 1 with --profile", workload.streams));
  return {};
}

Result<int> run_bench(const BenchFlags& flags, const GlobalFlags& global, Log& log) {
  if (std::ranges::any_of(flags.models, serve::is_url)) {
    if (flags.models.size() > 1)
      return Error{ErrorCode::invalid_input, "a server is measured alone: give one URL"};
    for (const std::string& flag : flags.for_models)
      log.warning(fmt::format("{} does nothing here: a server is measured as it is", flag));
    LoadFlags load = flags.load;
    load.duration_s = flags.options.duration_s;
    load.json = flags.json;
    load.fail_if = flags.fail_if;
    return bench_url(flags.models.front(), load, global, log);
  }
  for (const std::string& flag : flags.for_servers)
    log.warning(fmt::format("{} does nothing here: it is for http://HOST:PORT", flag));
  RTAI_TRY(const std::vector<Gate> gates, parse_gates(flags.fail_if));
  std::optional<Baseline> baseline;
  if (flags.against) {
    RTAI_TRY(baseline, Baseline::read(*flags.against));
    if (baseline->cpu() != cpu_name())
      log.warning(fmt::format("{} was measured on {}, this is {}", *flags.against,
                              baseline->cpu().empty() ? "an unknown machine" : baseline->cpu(),
                              cpu_name()));
  }
  const EngineMemory memory = flags.options.resident ? EngineMemory::own : EngineMemory::mapped;
  std::vector<LoadedModel> models;
  for (const std::string& name : flags.models) {
    RTAI_TRY(LoadedModel model, load_for_bench(name, memory, log));
    models.push_back(std::move(model));
  }
  const text::Tokenizer* tokenizer =
      models.front().tokenizer ? &*models.front().tokenizer : nullptr;
  RTAI_TRY(const Workload base, flags.workload.resolve(global, tokenizer));
  std::vector<Workload> workloads = {base};
  if (flags.sweep) {
    RTAI_TRY(workloads, parse_sweep(*flags.sweep, base));
  }

  for (const Workload& workload : workloads)
    RTAI_TRY_VOID(check_streams(workload, flags.options));

  BenchOptions options = flags.options;
  // Without any wish, at least a second: a hundred runs of a tiny model are over in a moment.
  if (!flags.has_iterations && !flags.has_duration) options.duration_s = 1;
  BenchReport report;
  report.warmup = options.warmup;
  report.is_relative = flags.relative;
  for (const Workload& workload : workloads) {
    RTAI_TRY(std::vector<BenchResult> results, bench_models(models, workload, options, log));
    report.results.insert(report.results.end(), std::make_move_iterator(results.begin()),
                          std::make_move_iterator(results.end()));
  }
  if (flags.evaluation)
    RTAI_TRY_VOID(judge_quality(report.results, models, *flags.evaluation, base, log));
  if (options.profile)
    report.peaks = base.gpu ? Peaks{} : measure_peaks(report.results.front().run.threads);
  RTAI_TRY_VOID(judge_gates_of(report, gates, baseline));
  RTAI_TRY_VOID(write_results(flags, global, report));
  int code = 0;
  for (const BenchResult& result : report.results) {
    for (const JudgedGate& gate : result.gates) {
      if (!gate.is_missed) continue;
      log.warning(fmt::format("{}: gate missed: {}", result.model, gate.line()));
      code = exit_code(ErrorCode::gate);
    }
  }
  return code;
}

void add_load_flags(CLI::App& command, LoadFlags& load) {
  const std::string group = kLoadGroup;
  command
      .add_option("--rate", load.rate_per_s,
                  "Requests a second, whatever becomes of them "
                  "(default: each when the last is answered)")
      ->check(CLI::Range(0.001, 1e6))
      ->group(group);
  command.add_flag("--poisson", load.poisson, "With --rate: random gaps instead of even ones")
      ->group(group);
  command.add_option("--connections", load.connections, "Connections")
      ->check(CLI::Range(1, 10'000))
      ->capture_default_str()
      ->group(group);
  command.add_option("--data", load.data, "Texts to send (default: of common words)")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--path", load.path, "Endpoint")
      ->check(CLI::IsMember({"/v1/predict", "/v1/embeddings", "/predict", "/embed"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--api-key-file", load.api_key_file, "File with the key to send")
      ->type_name("FILE")
      ->group(group);
}

}  // namespace

void add_bench(Commands& commands) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App& command =
      *commands.app.add_subcommand("bench", "Measure the latency of models, in turn");
  command
      .add_option("models", flags->models,
                  "ONNX files, folders or engines; or http://HOST:PORT of rtai serve")
      ->required();
  flags->workload.add_to(command);
  command
      .add_option("--streams", flags->workload.workload.streams,
                  "Sessions that run at once and share the threads evenly")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str()
      ->group("Workload");
  command.add_option("--sweep", flags->sweep,
                     "Every combination, as 'batch=1,8 seq=16..512*2 threads=1,2 streams=1,2'");
  command.add_option("--warmup", flags->options.warmup, "Runs before measuring")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  CLI::Option* iterations =
      command.add_option("--iterations", flags->options.iterations, "Runs to measure, at least")
          ->check(CLI::Range(1, 10'000'000))
          ->capture_default_str();
  CLI::Option* duration =
      command
          .add_option("--duration", flags->options.duration_s,
                      "Time to measure each model, at least: 30s, 2min (default: 1s without "
                      "--iterations)")
          ->transform(as_seconds());
  add_load_flags(command, flags->load);
  command.add_flag("--profile", flags->options.profile,
                   "Time every step, against the machine's measured limits");
  command.add_flag("--resident", flags->options.resident,
                   "Read engines into memory of their own first, as `rtai serve` does, instead of "
                   "mapping their files");
  command
      .add_option("--eval", flags->evaluation,
                  "Judge quality on these labelled texts too, as `rtai eval` does")
      ->type_name("FILE");
  command.add_flag("--relative", flags->relative,
                   "Say how the models compare with the first, with a 95 % confidence interval");
  command
      .add_option("--format", flags->format,
                  "Of standard output: text, json, jsonl, csv, md, junit, gha")
      ->check(CLI::IsMember({"text", "json", "jsonl", "csv", "md", "junit", "gha"}))
      ->capture_default_str();
  command
      .add_option("--json", flags->json,
                  "Write the results as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.add_option("--save", flags->save, "Write the results to this file, for --against")
      ->type_name(kWrittenFile);
  command.add_option("--against", flags->against, "Compare with these results of --save")
      ->type_name("FILE");
  command.add_option(
      "--fail-if", flags->fail_if,
      "Exit with 7 if this holds, as in 'p99_ms>5' or 'p50_ms>1.05*baseline'; the baseline "
      "is --against, or else the first model. Figures: min_ms, mean_ms, p50_ms ... p999_ms, "
      "max_ms, "
      "load_ms, throughput_per_s, tokens_per_s, engine_bytes, peak_rss_bytes; with --eval its "
      "metric, as accuracy, and agreement");
  flags->reports.add_to(command);
  command.footer(
      "Examples: rtai bench model.onnx model.rtai --relative --html report.html\n"
      "          rtai bench model.rtai --sweep 'batch=1,8 seq=16..128*2' --format csv\n"
      "          rtai bench model.rtai --against baseline.json --fail-if 'p50_ms>1.05*baseline'");
  command.callback([flags, &command, iterations, duration, &commands] {
    for (const CLI::Option* option : command.get_options()) {
      if (option->count() == 0 || is_positional(*option)) continue;
      const std::string flag = "--" + option->get_lnames().front();
      const bool is_for_both = std::ranges::find(kForBoth, flag) != kForBoth.end();
      if (option->get_group() == kLoadGroup)
        flags->for_servers.push_back(flag);
      else if (!is_for_both)
        flags->for_models.push_back(flag);
    }
    flags->has_iterations = iterations->count() > 0;
    flags->has_duration = duration->count() > 0;
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_bench(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
