#include "tools/report/bench.h"

#include "runtime/kernels/target.h"
#include "tools/answer_json.h"
#include "tools/json.h"
#include "tools/report/junit.h"
#include "tools/report/table.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

Json latency_json(const LatencySummary& latency) {
  return {{"min", latency.min}, {"mean", latency.mean}, {"p50", latency.p50}, {"p90", latency.p90},
          {"p95", latency.p95}, {"p99", latency.p99},   {"max", latency.max}, {"mad", latency.mad}};
}

Json ops_json(const BenchRun& run, const Peaks& peaks) {
  Json ops = Json::array();
  for (const StepProfile& step : run.profile) {
    const double percent = percent_of_peak(step, peaks);
    ops.push_back({{"name", step.name},
                   {"kind", step.kind},
                   {"dtype", dtype_name(step.dtype)},
                   {"p50_us", step.seconds * 1e6},
                   {"share", share_of(step, run)},
                   {"bytes", step.bytes},
                   {"gop", step.operations * 1e-9},
                   {"percent_of_peak", percent > 0 ? Json(percent) : Json(nullptr)}});
  }
  return ops;
}

double tokens_per_second(const BenchResult& result) {
  return result.run.tokens * result.run.runs_per_s;
}

Json phase_json(const std::optional<LatencySummary>& phase) {
  return phase ? latency_json(*phase) : Json(nullptr);
}

/// A GPU's own clock counts its copies, which are not told apart.
Json phases_json(const BenchResult& result) {
  return {{"tokenize_ms", phase_json(result.tokenization)},
          {"h2d_ms", nullptr},
          {"compute_ms", latency_json(result.run.device_latency.value_or(result.run.latency))},
          {"d2h_ms", nullptr}};
}

Json result_json(const BenchResult& r, const std::optional<Peaks>& peaks) {
  const LatencySummary& latency = r.run.latency;
  const bool has_lengths = !r.workload.lengths.empty();
  Json result = {
      {"model", r.model},
      {"engine_bytes", r.bytes},
      {"dtype", r.dtype},
      {"device", r.workload.device},
      {"batch", r.workload.batch},
      {"seq", has_lengths ? Json(nullptr) : Json(r.workload.seq)},
      {"threads", r.run.threads},
      {"load_ms", r.load_ms},
      {"first_run_ms", r.run.first_run_ms},
      {"iterations", r.run.samples.size()},
      {"streams", r.workload.streams},
      {"latency_ms", latency_json(latency)},
      {"phases", phases_json(r)},
      {"p999_ms", latency.p999},
      {"stddev_ms", latency.stddev},
      {"cv", latency.stddev / latency.mean},
      {"throughput_per_s", per_second(r)},
      {"tokens_per_s", tokens_per_second(r)},
      {"tokens", r.run.tokens},
      {"peak_rss_bytes", r.peak_rss_bytes},
      {"stable", r.stability.is_stable ? Json(*r.stability.is_stable) : Json(nullptr)},
      {"window_p50_ms", r.stability.window_p50_ms},
      {"unstable_because", r.stability.reason.empty() ? Json(nullptr) : Json(r.stability.reason)},
      {"discarded_runs", r.discarded}};
  if (r.against_first) {
    const Comparison& c = *r.against_first;
    result["relative"] = {
        {"ratio", c.ratio}, {"low", c.low}, {"high", c.high}, {"verdict", c.verdict()}};
  }
  if (r.run.device_latency) result["device_latency_ms"] = latency_json(*r.run.device_latency);
  if (r.quality) result["quality"] = quality_json(r.quality);
  if (peaks) result["ops"] = ops_json(r.run, *peaks);
  if (!r.gates.empty()) result["gates"] = Json::array();
  for (const JudgedGate& gate : r.gates)
    result["gates"].push_back({{"gate", gate.gate.text},
                               {"value", gate.value},
                               {"limit", gate.limit},
                               {"passed", !gate.is_missed}});
  return result;
}

/// Columns of all tables: a name, and what it says of a result. Those that say the same of every
/// result are left out of tables for people.
struct Column {
  std::string name;
  std::vector<std::string> cells;
};

std::string stable_word(const Stability& stability) {
  if (!stability.is_stable) return "?";
  return *stability.is_stable ? "yes" : "no";
}

std::string change_text(double ratio) {
  return fmt::format("{:+.1f} %", 100 * (ratio - 1));
}

std::vector<Column> columns_of(const BenchReport& report) {
  const auto& results = report.results;
  std::vector<Column> columns;
  const auto add = [&](const std::string& name, auto&& cell) {
    Column column{name, {}};
    for (const BenchResult& result : results)
      column.cells.push_back(cell(result));
    columns.push_back(std::move(column));
  };
  const auto differ = [&](auto&& value) {
    return std::ranges::any_of(
        results, [&](const BenchResult& r) { return value(r) != value(results.front()); });
  };
  add("model", [](const BenchResult& r) { return r.model; });
  if (differ([](const BenchResult& r) { return r.workload.batch; }))
    add("batch", [](const BenchResult& r) { return fmt::format("{}", r.workload.batch); });
  if (differ([](const BenchResult& r) { return r.workload.seq; }))
    add("tokens", [](const BenchResult& r) { return fmt::format("{}", r.workload.seq); });
  if (differ([](const BenchResult& r) { return r.run.threads; }))
    add("threads", [](const BenchResult& r) { return fmt::format("{}", r.run.threads); });
  if (differ([](const BenchResult& r) { return r.workload.streams; }))
    add("streams", [](const BenchResult& r) { return fmt::format("{}", r.workload.streams); });
  add("dtype", [](const BenchResult& r) { return r.dtype; });
  add("size", [](const BenchResult& r) { return human_bytes(static_cast<double>(r.bytes)); });
  add("load", [](const BenchResult& r) { return human_ms(r.load_ms); });
  add("min", [](const BenchResult& r) { return human_ms(r.run.latency.min); });
  add("p50", [](const BenchResult& r) { return human_ms(r.run.latency.p50); });
  add("p90", [](const BenchResult& r) { return human_ms(r.run.latency.p90); });
  add("p99", [](const BenchResult& r) { return human_ms(r.run.latency.p99); });
  add("per second", [](const BenchResult& r) { return fmt::format("{:.0f}", per_second(r)); });
  if (std::ranges::any_of(results,
                          [](const BenchResult& r) { return r.against_first.has_value(); })) {
    add("speed-up", [](const BenchResult& r) {
      return fmt::format("{:.2f}x", r.against_first ? r.against_first->ratio : 1.0);
    });
  }
  if (std::ranges::any_of(results,
                          [](const BenchResult& r) { return r.baseline_p50_ms.has_value(); })) {
    add("to baseline", [](const BenchResult& r) {
      return r.baseline_p50_ms ? change_text(r.run.latency.p50 / *r.baseline_p50_ms) : "";
    });
  }
  if (std::ranges::any_of(results,
                          [](const BenchResult& r) { return r.stability.is_stable == false; }))
    add("stable", [](const BenchResult& r) { return stable_word(r.stability); });
  if (results.front().quality) {
    add(results.front().quality->metric, [](const BenchResult& r) {
      return r.quality->value ? fmt::format("{:.4f}", *r.quality->value) : "";
    });
    add("agreement", [](const BenchResult& r) {
      return r.quality->agreement ? fmt::format("{:.2f} %", 100 * *r.quality->agreement) : "";
    });
  }
  return columns;
}

std::string profile_text(const BenchResult& r, const Peaks& peaks) {
  double total = 0;
  for (const StepProfile& step : r.run.profile)
    total += step.seconds;
  std::string text =
      r.run.device_latency
          ? fmt::format("\n{}: {} a run, every launch by itself\n\n", r.model,
                        human_ms(total * 1e3))
          : fmt::format("\n{}: {} a run on thread 0; limit {:.0f} int8 GOPS, {:.0f} f32 GFLOPS\n\n",
                        r.model, human_ms(total * 1e3), peaks.int8_gops, peaks.f32_gflops);
  Table table({"step", "kernel", "time", "share", "weights", "GOP", "of limit"});
  for (const StepProfile& step : r.run.profile) {
    const double percent = percent_of_peak(step, peaks);
    table.add({step.name, step.kernel.empty() ? step.kind : step.kernel,
               fmt::format("{:.1f} us", step.seconds * 1e6),
               fmt::format("{:.1f} %", 100 * share_of(step, r.run)),
               step.bytes > 0 ? human_bytes(step.bytes) : "",
               step.operations > 0 ? fmt::format("{:.3f}", step.operations * 1e-9) : "",
               percent > 0 ? fmt::format("{:.0f} %", percent) : ""});
  }
  text += table.text();
  const bool is_above = std::ranges::any_of(
      r.run.profile, [&](const StepProfile& step) { return percent_of_peak(step, peaks) > 100; });
  return text +
         (is_above ? "more than 100 %: weights came from the caches, or the clock rose\n" : "");
}

bool is_one_workload(const BenchReport& report) {
  const std::string& first = report.results.front().workload_text;
  return std::ranges::all_of(
      report.results, [&](const BenchResult& result) { return result.workload_text == first; });
}

/// The workload in brackets, where results differ in theirs; else the head of the report says it.
std::string workload_note(const BenchReport& report, const BenchResult& result) {
  return is_one_workload(report) ? "" : fmt::format(" ({})", result.workload_text);
}

/// A line for each model but the first of its workload.
std::vector<std::string> verdicts_of(const BenchReport& report) {
  std::vector<std::string> lines;
  const BenchResult* first = nullptr;
  for (const BenchResult& result : report.results) {
    if (!result.against_first) {
      first = &result;
      continue;
    }
    const bool is_unstable =
        first->stability.is_stable == false || result.stability.is_stable == false;
    lines.push_back(fmt::format("{} against {}{}: {}{}", result.model, first->model,
                                workload_note(report, result), result.against_first->verdict(),
                                is_unstable ? ", but unstable" : ""));
  }
  return lines;
}

std::vector<std::string> unstable_lines(const BenchReport& report) {
  std::vector<std::string> lines;
  for (const BenchResult& result : report.results) {
    if (result.stability.is_stable == false)
      lines.push_back(fmt::format("unstable: {}{}: {}", result.model, workload_note(report, result),
                                  result.stability.reason));
  }
  return lines;
}

std::string csv_cell(const std::string& text) {
  if (text.find_first_of(",\"\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + "\"";
}

}  // namespace

double per_second(const BenchResult& result) {
  return result.workload.batch * result.run.runs_per_s;
}

double share_of(const StepProfile& step, const BenchRun& run) {
  double total = 0;
  for (const StepProfile& one : run.profile)
    total += one.seconds;
  return total > 0 ? step.seconds / total : 0;
}

Figures figures_of(const Json& result) {
  Figures figures;
  for (const auto& [key, value] : result["latency_ms"].items())
    figures[key + "_ms"] = value;
  for (const char* key : {"p999_ms", "stddev_ms", "cv", "load_ms", "first_run_ms", "engine_bytes",
                          "peak_rss_bytes", "throughput_per_s", "tokens_per_s"}) {
    if (result.contains(key)) figures[key] = result[key];
  }
  if (result.contains("quality")) {
    const Json& quality = result["quality"];
    if (quality["value"].is_number())
      figures[quality["metric"].get<std::string>()] = quality["value"];
    if (quality["agreement"].is_number()) figures["agreement"] = quality["agreement"];
  }
  return figures;
}

Json BenchReport::json() const {
  Json document = {{"schema", "rtai.bench/1"},
                   {"rtai_version", version()},
                   {"rtai_commit", commit()},
                   {"machine", machine_json(results.front().run, results.front().workload)},
                   {"excluded", excluded()},
                   {"results", Json::array()}};
  for (const BenchResult& result : results)
    document["results"].push_back(result_json(result, peaks));
  return document;
}

std::string BenchReport::json_lines() const {
  const Json document = json();
  std::string lines;
  for (const Json& result : document["results"]) {
    Json line = {{"schema", document["schema"]},
                 {"rtai_version", version()},
                 {"rtai_commit", commit()},
                 {"machine", document["machine"]}};
    line.update(result);
    lines += one_line(line) + "\n";
  }
  return lines;
}

std::string BenchReport::excluded() const {
  const bool is_tokenization_shown = std::ranges::any_of(
      results, [](const BenchResult& result) { return result.tokenization.has_value(); });
  return fmt::format(
      "not in the latency: loading and the first run (shown apart), {} runs of warm-up, "
      "tokenization{}",
      warmup, is_tokenization_shown ? " (shown apart)" : "");
}

std::vector<std::string> BenchReport::tokenization_lines() const {
  std::vector<std::string> lines;
  for (const BenchResult& result : results) {
    if (!result.tokenization) continue;
    lines.push_back(fmt::format("{}{}: tokenization {} at p50, {} at p99, on one thread",
                                result.model, workload_note(*this, result),
                                human_ms(result.tokenization->p50),
                                human_ms(result.tokenization->p99)));
  }
  return lines;
}

std::string BenchReport::text() const {
  const BenchResult& first = results.front();
  std::string text = fmt::format("{} | target {}{}\n\n", cpu_name(), first.run.target,
                                 is_one_workload(*this) ? " | " + first.workload_text : "");
  const std::vector<Column> columns = columns_of(*this);
  std::vector<std::string> head;
  for (const Column& column : columns)
    head.push_back(column.name);
  Table table(head);
  for (std::size_t i = 0; i < results.size(); ++i) {
    std::vector<std::string> row;
    for (const Column& column : columns)
      row.push_back(column.cells[i]);
    table.add(std::move(row));
  }
  text += table.text() + "\n";
  for (const BenchResult& result : results) {
    if (!result.run.device_latency) continue;
    text += fmt::format("{}: {} on the device at p50, {} at p99; the table is end to end\n",
                        result.model, human_ms(result.run.device_latency->p50),
                        human_ms(result.run.device_latency->p99));
  }
  for (const std::string& line : tokenization_lines())
    text += line + "\n";
  if (is_relative) {
    for (const std::string& line : verdicts_of(*this))
      text += line + "\n";
  }
  for (const std::string& line : unstable_lines(*this))
    text += line + "\n";
  text += fmt::format("{} runs each, in turn; {}\n", first.run.samples.size(), excluded());
  if (peaks) {
    for (const BenchResult& result : results)
      text += profile_text(result, *peaks);
  }
  return text;
}

std::string BenchReport::csv() const {
  std::string csv =
      "model,dtype,device,batch,seq,threads,iterations,engine_bytes,load_ms,first_run_ms,min_ms,"
      "mean_ms,p50_ms,p90_ms,"
      "p95_ms,p99_ms,p999_ms,max_ms,stddev_ms,throughput_per_s,tokens_per_s,peak_rss_bytes,"
      "stable,streams\n";
  for (const BenchResult& r : results) {
    const LatencySummary& l = r.run.latency;
    csv += fmt::format(
        "{},{},{},{},{},{},{},{},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:.6g},{:."
        "6g},{:.6g},{:.6g},{:.6g},{},{},{}\n",
        csv_cell(r.model), r.dtype, r.workload.device, r.workload.batch,
        r.workload.lengths.empty() ? fmt::format("{}", r.workload.seq) : "", r.run.threads,
        r.run.samples.size(), r.bytes, r.load_ms, r.run.first_run_ms, l.min, l.mean, l.p50, l.p90,
        l.p95, l.p99, l.p999, l.max, l.stddev, per_second(r), tokens_per_second(r),
        r.peak_rss_bytes, r.stability.is_stable ? stable_word(r.stability) : "",
        r.workload.streams);
  }
  return csv;
}

std::string BenchReport::markdown() const {
  const BenchResult& first = results.front();
  std::string text =
      fmt::format("### rtai bench\n\n{}, target {}{}\n\n|", cpu_name(), first.run.target,
                  is_one_workload(*this) ? ", " + first.workload_text : "");
  const std::vector<Column> columns = columns_of(*this);
  for (const Column& column : columns)
    text += fmt::format(" {} |", column.name);
  text += "\n|";
  for (const Column& column : columns)
    text += column.name == "model" ? " --- |" : " ---: |";
  for (std::size_t i = 0; i < results.size(); ++i) {
    text += "\n|";
    for (const Column& column : columns)
      text += fmt::format(" {} |", column.cells[i]);
  }
  text += "\n\n";
  for (const std::string& line : verdicts_of(*this))
    text += line + "\n\n";
  for (const std::string& line : tokenization_lines())
    text += line + "\n\n";
  for (const std::string& line : unstable_lines(*this))
    text += line + "\n\n";
  for (const BenchResult& result : results) {
    for (const JudgedGate& gate : result.gates)
      text += fmt::format("- {} {}: `{}`\n", gate.is_missed ? "**missed**" : "passed", result.model,
                          gate.line());
  }
  return text +
         fmt::format("\n{} runs each, in turn; {}.\n\n", first.run.samples.size(), excluded());
}

std::string BenchReport::junit() const {
  std::vector<JunitCase> cases;
  for (const BenchResult& result : results) {
    double seconds = 0;
    for (const double ms : result.run.samples)
      seconds += ms * 1e-3;
    for (const JudgedGate& gate : result.gates) {
      cases.push_back(
          {fmt::format("{} ({}): not {}", result.model, result.workload_text, gate.gate.text),
           gate.is_missed ? std::optional(gate.line()) : std::nullopt, seconds});
    }
    if (result.gates.empty())
      cases.push_back(
          {fmt::format("{} ({})", result.model, result.workload_text), std::nullopt, seconds});
  }
  return junit_xml("rtai bench", cases);
}

std::string BenchReport::action_benchmark() const {
  Json list = Json::array();
  for (const BenchResult& result : results) {
    const std::string name = fmt::format("{} ({})", result.model, result.workload_text);
    for (const auto& [figure, value] :
         {std::pair{"p50", result.run.latency.p50}, {"p99", result.run.latency.p99}}) {
      list.push_back({{"name", fmt::format("{} {}", name, figure)},
                      {"unit", "ms"},
                      {"value", value},
                      {"range", fmt::format("{:.4g}", result.run.latency.mad)},
                      {"extra", cpu_name()}});
    }
  }
  return pretty(list);
}

}  // namespace rtai::tools
