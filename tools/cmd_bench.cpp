// rtai bench: latency of models on a workload, measured in turn.
#include "runtime/exec/team.h"
#include "runtime/kernels/target.h"
#include "tools/cli.h"
#include "tools/gates.h"
#include "tools/json.h"
#include "tools/machine.h"
#include "tools/metrics.h"
#include "tools/model.h"
#include "tools/remote.h"
#include "tools/report/optimization.h"
#include "tools/report/table.h"
#include "tools/timing.h"
#include "tools/version.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <map>

namespace rtai::tools {
namespace {

struct BenchFlags {
  std::vector<std::string> models;
  WorkloadFlags workload;
  BenchOptions options;
  std::optional<std::string> evaluation;
  std::optional<std::string> json;
  std::vector<std::string> fail_if;
  LoadFlags load;
};

/// One model under measurement.
struct Contestant {
  std::string name;
  std::string dtype;
  std::uint64_t bytes = 0;
  double load_ms = 0;
  BenchSession session;
  BenchRun run = {};
  std::optional<Quality> quality = {};  // with --eval; agreement is with the first model
};

Result<Contestant> make_contestant(const std::string& name,
                                   const Workload& workload,
                                   bool profile,
                                   Log& log) {
  const auto start = std::chrono::steady_clock::now();
  RTAI_TRY(const Model model, load_model(name, log));
  RTAI_TRY(const auto engine, make_engine(model));
  RTAI_TRY(BenchSession session, BenchSession::create(engine, workload, profile).in(name));
  const std::chrono::duration<double, std::milli> load = std::chrono::steady_clock::now() - start;
  return Contestant{.name = name,
                    .dtype = model.dtype(),
                    .bytes = engine->file_bytes != 0 ? engine->file_bytes : model.bytes,
                    .load_ms = load.count() - session.first_run_ms(),
                    .session = std::move(session)};
}

/// Rounds of a few runs of each, so that a change of the machine's mood meets all of them alike.
Result<void> measure(std::vector<Contestant>& contestants, const BenchOptions& options, Log& log) {
  constexpr int kRunsOfARound = 5;
  for (Contestant& contestant : contestants)
    RTAI_TRY_VOID(contestant.session.measure(options.warmup, false));
  const auto finished = [&](const Contestant& c) {
    return c.session.count() >= options.iterations &&
           c.session.total_ms() >= options.duration_s * 1e3;
  };
  bool all_done = false;
  while (!all_done) {
    all_done = true;
    double done = 0;
    for (Contestant& contestant : contestants) {
      const int left = options.iterations - contestant.session.count();
      const int runs = left > 0 ? std::min(left, kRunsOfARound) : kRunsOfARound;
      if (!finished(contestant)) RTAI_TRY_VOID(contestant.session.measure(runs, true));
      all_done = all_done && finished(contestant);
      done += std::min(
          1.0, static_cast<double>(contestant.session.count()) / std::max(1, options.iterations));
    }
    log.progress("measuring", done, static_cast<double>(contestants.size()));
  }
  log.progress("measuring", 0, 0);
  for (Contestant& contestant : contestants)
    contestant.run = contestant.session.finish();
  return {};
}

/// Answers the labelled texts with every model.
Result<void> judge(std::vector<Contestant>& contestants,
                   const std::string& data,
                   const Workload& workload,
                   Log& log) {
  RTAI_TRY(const std::vector<Sample> samples, read_samples(data));
  std::optional<Model> first;
  std::vector<Answer> first_answers;
  for (Contestant& contestant : contestants) {
    RTAI_TRY(Model model, load_model(contestant.name, log));
    RTAI_TRY(Evaluation evaluation,
             evaluate(model, samples, workload.threads, workload.target, log));
    contestant.quality = Quality{evaluation.score.metric, evaluation.score.value, std::nullopt};
    if (first) {
      contestant.quality->agreement = agreement(model, evaluation.answers, *first, first_answers);
      continue;
    }
    first = std::move(model);
    first_answers = std::move(evaluation.answers);
  }
  return {};
}

Json latency_json(const LatencySummary& latency) {
  return {{"min", latency.min}, {"mean", latency.mean}, {"p50", latency.p50}, {"p90", latency.p90},
          {"p95", latency.p95}, {"p99", latency.p99},   {"max", latency.max}, {"mad", latency.mad}};
}

double share_of(const StepProfile& step, double total) {
  return total > 0 ? step.seconds / total : 0;
}

Json ops_json(const BenchRun& run, const Peaks& peaks) {
  double total = 0;
  for (const StepProfile& step : run.profile)
    total += step.seconds;
  Json ops = Json::array();
  for (const StepProfile& step : run.profile) {
    const double percent = percent_of_peak(step, peaks);
    ops.push_back({{"name", step.name},
                   {"kind", step.kind},
                   {"dtype", dtype_name(step.dtype)},
                   {"p50_us", step.seconds * 1e6},
                   {"share", share_of(step, total)},
                   {"bytes", step.bytes},
                   {"gop", step.operations * 1e-9},
                   {"percent_of_peak", percent > 0 ? Json(percent) : Json(nullptr)}});
  }
  return ops;
}

std::uint64_t peak_rss_bytes() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024;
}

Json result_json(const Contestant& c, const Workload& workload, const std::optional<Peaks>& peaks) {
  const double seconds = c.run.latency.p50 * 1e-3;
  Json result = {{"model", c.name},
                 {"engine_bytes", c.bytes},
                 {"dtype", c.dtype},
                 {"device", workload.device},
                 {"batch", workload.batch},
                 {"seq", workload.lengths.empty() ? Json(workload.seq) : Json(nullptr)},
                 {"threads", c.run.threads},
                 {"load_ms", c.load_ms},
                 {"first_run_ms", c.run.first_run_ms},
                 {"iterations", c.run.samples.size()},
                 {"latency_ms", latency_json(c.run.latency)},
                 {"throughput_per_s", workload.batch / seconds},
                 {"tokens_per_s", static_cast<double>(c.run.tokens) / seconds},
                 {"peak_rss_bytes", peak_rss_bytes()}};
  if (c.quality) result["quality"] = quality_json(c.quality);
  if (peaks) result["ops"] = ops_json(c.run, *peaks);
  return result;
}

Figures figures_of(const BenchRun& run, const Contestant& c, const Workload& workload) {
  const LatencySummary& l = run.latency;
  return {{"min_ms", l.min},
          {"mean_ms", l.mean},
          {"p50_ms", l.p50},
          {"p90_ms", l.p90},
          {"p95_ms", l.p95},
          {"p99_ms", l.p99},
          {"max_ms", l.max},
          {"load_ms", c.load_ms},
          {"first_run_ms", run.first_run_ms},
          {"engine_bytes", static_cast<double>(c.bytes)},
          {"throughput_per_s", workload.batch / (l.p50 * 1e-3)}};
}

std::string summary_text(const std::vector<Contestant>& contestants, const Workload& workload) {
  const Contestant& first = contestants.front();
  std::string text =
      fmt::format("{} | {} threads | target {} | batch {} | {}\n\n", cpu_name(), first.run.threads,
                  first.run.target, workload.batch,
                  workload.lengths.empty() ? fmt::format("{} tokens each", workload.seq)
                                           : fmt::format("{} tokens in all", first.run.tokens));
  std::vector<std::string> head = {"model", "dtype", "size", "load",       "min",
                                   "p50",   "p90",   "p99",  "per second", "speed-up"};
  if (first.quality) {
    head.push_back(first.quality->metric);
    head.push_back("agreement");
  }
  Table table(std::move(head));
  for (const Contestant& c : contestants) {
    const LatencySummary& l = c.run.latency;
    std::vector<std::string> row = {c.name,
                                    c.dtype,
                                    human_bytes(static_cast<double>(c.bytes)),
                                    human_ms(c.load_ms),
                                    human_ms(l.min),
                                    human_ms(l.p50),
                                    human_ms(l.p90),
                                    human_ms(l.p99),
                                    fmt::format("{:.0f}", workload.batch / (l.p50 * 1e-3)),
                                    fmt::format("{:.2f}x", first.run.latency.p50 / l.p50)};
    if (c.quality) {
      row.push_back(c.quality->value ? fmt::format("{:.4f}", *c.quality->value) : "");
      row.push_back(c.quality->agreement ? fmt::format("{:.2f} %", 100 * *c.quality->agreement)
                                         : "");
    }
    table.add(std::move(row));
  }
  text += table.text();
  text += fmt::format("\n{} runs each, in turn; tokenization and loading are not in the latency\n",
                      first.run.samples.size());
  return text;
}

std::string profile_text(const Contestant& c, const Peaks& peaks) {
  double total = 0;
  for (const StepProfile& step : c.run.profile)
    total += step.seconds;
  std::string text =
      fmt::format("\n{}: {} a run on thread 0; limit {:.0f} int8 GOPS, {:.0f} f32 GFLOPS\n\n",
                  c.name, human_ms(total * 1e3), peaks.int8_gops, peaks.f32_gflops);
  Table table({"step", "kernel", "time", "share", "weights", "GOP", "of limit"});
  for (const StepProfile& step : c.run.profile) {
    const double percent = percent_of_peak(step, peaks);
    table.add({step.name, step.kernel.empty() ? step.kind : step.kernel,
               fmt::format("{:.1f} us", step.seconds * 1e6),
               fmt::format("{:.1f} %", 100 * share_of(step, total)),
               step.bytes > 0 ? human_bytes(step.bytes) : "",
               step.operations > 0 ? fmt::format("{:.3f}", step.operations * 1e-9) : "",
               percent > 0 ? fmt::format("{:.0f} %", percent) : ""});
  }
  return text + table.text();
}

Result<int> run_bench(const BenchFlags& flags, const GlobalFlags& global, Log& log) {
  if (std::ranges::any_of(flags.models, serve::is_url)) {
    if (flags.models.size() > 1)
      return Error{ErrorCode::invalid_input, "a server is measured alone: give one URL"};
    LoadFlags load = flags.load;
    load.duration_s = flags.options.duration_s;
    load.json = flags.json;
    load.fail_if = flags.fail_if;
    return bench_url(flags.models.front(), load, global, log);
  }
  RTAI_TRY(const Workload workload, flags.workload.resolve(global));
  RTAI_TRY(const std::vector<Gate> gates, parse_gates(flags.fail_if));
  std::vector<Contestant> contestants;
  for (const std::string& model : flags.models) {
    RTAI_TRY(Contestant contestant, make_contestant(model, workload, flags.options.profile, log));
    contestants.push_back(std::move(contestant));
  }
  RTAI_TRY_VOID(measure(contestants, flags.options, log));
  if (flags.evaluation) RTAI_TRY_VOID(judge(contestants, *flags.evaluation, workload, log));
  std::optional<Peaks> peaks;
  if (flags.options.profile) peaks = measure_peaks(contestants.front().run.threads);

  if (!is_stdout(flags.json)) {
    std::string text = summary_text(contestants, workload);
    if (peaks) {
      for (const Contestant& contestant : contestants)
        text += profile_text(contestant, *peaks);
    }
    print(global, text);
  }
  if (flags.json) {
    Json document = {{"rtai_version", version()},
                     {"machine", machine_json(contestants.front().run)},
                     {"results", Json::array()}};
    for (const Contestant& contestant : contestants) {
      document["results"].push_back(result_json(contestant, workload, peaks));
    }
    RTAI_TRY_VOID(write_json(document, *flags.json));
  }
  int code = 0;
  for (const Contestant& contestant : contestants) {
    RTAI_TRY(const std::vector<std::string> missed,
             missed_gates(gates, figures_of(contestant.run, contestant, workload)));
    for (const std::string& line : missed) {
      log.warning(fmt::format("{}: gate missed: {}", contestant.name, line));
      code = exit_code(ErrorCode::gate);
    }
  }
  return code;
}

void add_load_flags(CLI::App& command, LoadFlags& load) {
  const std::string group = "Load on a URL";
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
  command.add_option("--data", load.data, "Texts to send (default: of common words)")->group(group);
  command.add_option("--path", load.path, "Endpoint")
      ->check(CLI::IsMember({"/v1/predict", "/v1/embeddings", "/predict", "/embed"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--api-key-file", load.api_key_file, "File with the key to send")
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
  command.add_option("--warmup", flags->options.warmup, "Runs before measuring")
      ->check(CLI::Range(0, 1'000'000))
      ->capture_default_str();
  command.add_option("--iterations", flags->options.iterations, "Runs to measure, at least")
      ->check(CLI::Range(1, 10'000'000))
      ->capture_default_str();
  command
      .add_option("--duration", flags->options.duration_s, "Time to measure, at least: 30s, 2min")
      ->transform(CLI::AsNumberWithUnit(
          std::map<std::string, double>{{"ms", 1e-3}, {"s", 1}, {"min", 60}}));
  add_load_flags(command, flags->load);
  command.add_flag("--profile", flags->options.profile,
                   "Time every step, against the machine's measured limits");
  command.add_option("--eval", flags->evaluation,
                     "Judge quality on these labelled texts too, as `rtai eval` does");
  command.add_option("--json", flags->json,
                     "Write the results as JSON to this file, - for standard output");
  command.add_option("--fail-if", flags->fail_if, "Exit with 7 if this holds, as in 'p99_ms>5'");
  command.footer("Example: rtai bench model.onnx model.rtai --batch 1 --seq 128");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_bench(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
