#include "tools/report/bench_page.h"

#include "runtime/kernels/target.h"
#include "tools/report/charts.h"
#include "tools/report/page.h"
#include "tools/report/table.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

/// Steps of one group, added up.
struct Group {
  std::string name;
  double seconds = 0;
  double limit_seconds = 0;  // what the machine's limits allow, for the steps that have one
  double limited_seconds = 0;
  double bytes = 0;
};

void add_step(Group& group, const StepProfile& step, const Peaks& peaks) {
  group.seconds += step.seconds;
  group.bytes += step.bytes;
  const double share = percent_of_peak(step, peaks) / 100;
  if (share <= 0) return;
  group.limit_seconds += share * step.seconds;
  group.limited_seconds += step.seconds;
}

/// Groups in the order in which they are met.
template <class NameOf>
std::vector<Group> group_steps(const BenchRun& run, const Peaks& peaks, NameOf&& name_of) {
  std::vector<Group> groups;
  for (const StepProfile& step : run.profile) {
    const std::string name = name_of(step);
    auto found = std::ranges::find(groups, name, &Group::name);
    if (found == groups.end()) found = groups.insert(groups.end(), Group{.name = name});
    add_step(*found, step, peaks);
  }
  return groups;
}

/// "layer.3.ffn_in.weight" belongs to layer 3; a step without such a name to the layer before it.
std::vector<Group> layers_of(const BenchRun& run, const Peaks& peaks) {
  std::string current = "embedding";
  return group_steps(run, peaks, [&](const StepProfile& step) {
    if (step.name.starts_with("layer.")) {
      current = "layer " + step.name.substr(6, step.name.find('.', 6) - 6);
    } else if (step.name.starts_with("head")) {
      current = "head";
    }
    return current;
  });
}

void add_groups(Page& page, const std::string& what, const std::vector<Group>& groups) {
  double total = 0;
  double most = 0;
  for (const Group& group : groups) {
    total += group.seconds;
    most = std::max(most, group.seconds);
  }
  std::vector<std::vector<Cell>> rows;
  for (const Group& group : groups) {
    const double of_limit =
        group.limited_seconds > 0 ? group.limit_seconds / group.limited_seconds : 0;
    rows.push_back(
        {{group.name},
         {fmt::format("{:.1f} us", group.seconds * 1e6), most > 0 ? group.seconds / most : 0},
         {fmt::format("{:.1f} %", total > 0 ? 100 * group.seconds / total : 0)},
         {group.bytes > 0 ? human_bytes(group.bytes) : ""},
         of_limit > 0 ? Cell{fmt::format("{:.0f} %", 100 * of_limit), of_limit, "good"}
                      : Cell{""}});
  }
  page.table({what, "time", "share", "weights", "of the machine's limit"}, rows);
}

void add_profile(Page& page, const BenchResult& result, const Peaks& peaks) {
  page.heading(fmt::format("Where the time goes: {}", result.model));
  add_groups(page, "kind of operator",
             group_steps(result.run, peaks, [](const StepProfile& step) { return step.kind; }));
  add_groups(page, "layer", layers_of(result.run, peaks));
  page.note(fmt::format(
      "{}. Medians on thread 0. The limit is {:.0f} int8 GOPS, {:.0f} f32 GFLOPS or {:.1f} GB/s of "
      "reads, whichever binds, "
      "measured on this machine; more than 100 % means that weights came from the caches.",
      result.workload_text, peaks.int8_gops, peaks.f32_gflops, peaks.read_gb_per_s));
}

void add_summary(Page& page, const BenchReport& report) {
  double most = 0;
  for (const BenchResult& result : report.results)
    most = std::max(most, result.run.latency.p50);
  std::vector<std::vector<Cell>> rows;
  for (const BenchResult& result : report.results) {
    const LatencySummary& l = result.run.latency;
    rows.push_back({{.text = result.model, .detail = result.workload_text},
                    {.text = human_ms(l.p50),
                     .bar = l.p50 / most,
                     .tone = result.against_first ? "after" : "before"},
                    {human_ms(l.min)},
                    {human_ms(l.p90)},
                    {human_ms(l.p99)},
                    {human_ms(l.max)},
                    {fmt::format("{:.0f}", per_second(result))},
                    {result.against_first ? result.against_first->verdict() : ""}});
  }
  page.heading("Latency");
  page.table({"model", "median", "min", "p90", "p99", "max", "per second", "against the first"},
             rows);
}

void add_sizes(Page& page, const BenchReport& report) {
  double most_bytes = 1;
  double most_load = 1e-9;
  for (const BenchResult& result : report.results) {
    most_bytes = std::max(most_bytes, static_cast<double>(result.bytes));
    most_load = std::max(most_load, result.load_ms);
  }
  std::vector<std::vector<Cell>> rows;
  for (const BenchResult& result : report.results) {
    const auto bytes = static_cast<double>(result.bytes);
    rows.push_back({{result.model},
                    {result.dtype},
                    {human_bytes(bytes), bytes / most_bytes},
                    {human_ms(result.load_ms), result.load_ms / most_load},
                    {human_ms(result.run.first_run_ms)},
                    {result.quality && result.quality->value
                         ? fmt::format("{} {:.4f}", result.quality->metric, *result.quality->value)
                         : ""}});
  }
  page.heading("Size and loading");
  page.table({"model", "type", "size", "load", "first run", "quality"}, rows);
  page.note(fmt::format("The whole process, all models together, needed {} of memory at most.",
                        human_bytes(static_cast<double>(report.results.back().peak_rss_bytes))));
}

void add_gates(Page& page, const BenchReport& report) {
  std::vector<std::vector<Cell>> rows;
  for (const BenchResult& result : report.results) {
    for (const JudgedGate& gate : result.gates) {
      rows.push_back(
          {{.text = result.model, .detail = result.workload_text},
           {gate.gate.text},
           {fmt::format("{:.6g}", gate.value)},
           {fmt::format("{:.6g}", gate.limit)},
           {gate.is_missed ? "missed" : "passed", std::nullopt, gate.is_missed ? "bad" : "good"}});
    }
  }
  if (rows.empty()) return;
  page.heading("Gates");
  page.table({"model", "fails if", "measured", "limit", ""}, rows);
}

}  // namespace

std::string bench_html(const BenchReport& report) {
  const BenchResult& first = report.results.front();
  Page page("rtai bench");
  page.paragraph(fmt::format("{}, target {}, rtai {}. {} runs each, in turn; {}.", cpu_name(),
                             first.run.target, version(), first.run.samples.size(),
                             report.excluded()));
  add_summary(page, report);
  for (const std::string& line : report.tokenization_lines())
    page.paragraph(line + ".");
  for (const BenchResult& result : report.results) {
    if (result.stability.is_stable == false)
      page.paragraph(fmt::format("Unstable: {} ({}): {}.", result.model, result.workload_text,
                                 result.stability.reason));
  }
  add_gates(page, report);
  add_sizes(page, report);
  page.heading("How the runs spread");
  for (const BenchResult& result : report.results)
    page.figure(histogram_svg(result.run.samples),
                fmt::format("{}, {}", result.model, result.workload_text));
  if (report.peaks) {
    for (const BenchResult& result : report.results)
      add_profile(page, result, *report.peaks);
  }
  return page.html();
}

}  // namespace rtai::tools
