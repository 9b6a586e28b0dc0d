#include "tools/report/optimization_page.h"

#include "tools/answer_json.h"
#include "tools/report/charts.h"
#include "tools/report/junit.h"
#include "tools/report/page.h"
#include "tools/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace rtai::tools {
namespace {

std::optional<double> number(const Json& object, const std::string& key) {
  if (!object.is_object()) return std::nullopt;
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? std::optional(found->get<double>())
                                                     : std::nullopt;
}

const Json& member(const Json& object, const std::string& key) {
  static const Json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

std::string word(const Json& value) {
  return value.is_string() ? value.get<std::string>() : one_line(value);
}

/// A figure before and after.
struct Change {
  std::string name;
  std::optional<double> before;
  double after = 0;
  std::string before_text;
  std::string after_text;
  std::string change;
};

std::string times(double ratio, std::string_view better, std::string_view worse) {
  return ratio >= 1 ? fmt::format("{:.2f}x {}", ratio, better)
                    : fmt::format("{:.2f}x {}", 1 / ratio, worse);
}

void add_quality(const Json& report, std::vector<Change>& changes) {
  const Json& before = member(member(report, "quality"), "before");
  const Json& after = member(member(report, "quality"), "after");
  const std::optional<double> was = number(before, "value");
  const std::optional<double> is = number(after, "value");
  if (was && is) {
    changes.push_back({word(member(after, "metric")), was, *is, fmt::format("{:.4f}", *was),
                       fmt::format("{:.4f}", *is),
                       fmt::format("{:+.2f} points", 100 * (*is - *was))});
  }
  if (const std::optional<double> same = number(after, "agreement"))
    changes.push_back({"agreement with the model before", std::nullopt, *same, "",
                       fmt::format("{:.2f} %", 100 * *same), ""});
}

std::vector<Change> changes_of(const Json& report) {
  std::vector<Change> changes;
  const Json& latency = member(report, "latency_ms");
  for (const auto& [key, name] : {std::pair{"min", "latency, fastest run"},
                                  {"p50", "latency, median"},
                                  {"p99", "latency, p99"}}) {
    const std::optional<double> before = number(member(latency, "before"), key);
    const std::optional<double> after = number(member(latency, "after"), key);
    if (!before || !after) continue;
    // The medians' ratio is less sure than what runs in turn showed.
    const std::optional<double> shown =
        std::string_view(key) == "p50" ? number(report, "speedup") : std::nullopt;
    changes.push_back({name, before, *after, human_ms(*before), human_ms(*after),
                       times(shown.value_or(*before / *after), "faster", "slower")});
  }
  const std::optional<double> before = number(member(report, "bytes"), "before");
  const std::optional<double> after = number(member(report, "bytes"), "after");
  if (before && after && *after > 0)
    changes.push_back({"size", before, *after, human_bytes(*before), human_bytes(*after),
                       times(*before / *after, "smaller", "larger")});
  add_quality(report, changes);
  return changes;
}

bool is_met(const Json& report) {
  return member(report, "verdict") == "met";
}

/// "Met: speedup 3: 3.572 measured"
std::string verdict_of(const Json& goal) {
  return fmt::format("{}: {}", member(goal, "met") == true ? "Met" : "Missed",
                     word(member(goal, "goal")));
}

/// "speedup 3, mode dynamic"
std::string request_of(const Json& report) {
  std::string text;
  for (const auto& [key, value] : member(report, "request").items()) {
    if (value.empty()) continue;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", key, word(value));
  }
  return text.empty() ? "none" : text;
}

void add_changes(const Json& report, Page& page) {
  page.heading("Before and after");
  std::vector<std::vector<Cell>> rows;
  for (const Change& change : changes_of(report)) {
    const double most = std::max({change.before.value_or(1.0), change.after, 1e-12});
    const auto bar = change.before ? std::optional(*change.before / most) : std::nullopt;
    rows.push_back({{change.name},
                    {change.before_text, bar, "before"},
                    {change.after_text, change.after / most, "after"},
                    {change.change}});
  }
  page.table({"", "before", "after", "change"}, rows);
}

/// Heads and columns as "3 of 4" with a bar, precision as it is.
Cell kept_cell(const Json& layer, const std::string& what) {
  const std::optional<double> kept = number(layer, what);
  if (!kept) return {""};
  const std::optional<double> before = number(layer, what + "_before");
  if (!before || *before <= 0) return {fmt::format("{:.0f}", *kept)};
  return {fmt::format("{:.0f} of {:.0f}", *kept, *before), *kept / *before, "after"};
}

/// The names of the sites whose precision any layer tells, in their order; empty: one for the
/// layer.
std::vector<std::string> sites_of(const Json& layers) {
  std::vector<std::string> sites;
  for (const Json& layer : layers) {
    const Json& precision = member(layer, "precision");
    if (!precision.is_object()) continue;
    for (const auto& [site, value] : precision.items()) {
      if (std::ranges::find(sites, site) == sites.end()) sites.push_back(site);
    }
  }
  return sites;
}

void add_layers(const Json& report, Page& page) {
  const Json& layers = member(report, "layers");
  if (!layers.is_array() || layers.empty()) return;
  page.heading("Layer by layer");
  const std::vector<std::string> sites = sites_of(layers);
  const auto has = [&](const char* key) {
    return std::ranges::any_of(layers,
                               [&](const Json& layer) { return number(layer, key).has_value(); });
  };
  const bool has_sensitivity = has("sensitivity");
  const bool has_cost = has("cost_us");
  std::vector<std::string> head = {"layer", "heads", "FFN columns"};
  if (has_sensitivity) head.emplace_back("sensitivity");
  if (has_cost) head.emplace_back("cost");
  if (sites.empty()) head.push_back("precision");
  head.insert(head.end(), sites.begin(), sites.end());
  std::vector<std::vector<Cell>> rows;
  for (const Json& layer : layers) {
    std::vector<Cell> row = {
        {fmt::format("{}", rows.size())}, kept_cell(layer, "heads"), kept_cell(layer, "ffn")};
    const std::optional<double> sensitivity = number(layer, "sensitivity");
    const std::optional<double> cost = number(layer, "cost_us");
    if (has_sensitivity)
      row.push_back({sensitivity ? fmt::format("{:.4f}", *sensitivity) : "", std::nullopt, "dim"});
    if (has_cost) row.push_back({cost ? fmt::format("{:.1f} us", *cost) : "", std::nullopt, "dim"});
    const Json& precision = member(layer, "precision");
    if (sites.empty()) row.push_back({precision.is_null() ? "" : word(precision)});
    for (const std::string& site : sites) {
      const Json& value = member(precision, site);
      const std::string text = value.is_null() ? "" : word(value);
      row.push_back({text, std::nullopt, text.starts_with("i8") ? "good" : "dim"});
    }
    rows.push_back(std::move(row));
  }
  page.table(head, rows);
  if (!has_sensitivity) return;
  page.note(
      "Sensitivity: divergence of the outputs from the dense model's that the layer's own "
      "reduction causes. Cost: predicted time of the layer as deployed.");
}

/// What the choice was predicted to cost: in time, or in what the pass counts.
std::optional<double> predicted_cost(const Json& report) {
  if (const auto ms = number(member(report, "latency_ms"), "predicted")) return ms;
  for (const Json& pass : member(report, "passes")) {
    if (const auto cost = number(member(pass, "counters"), "cost predicted")) return cost;
  }
  return std::nullopt;
}

/// Where the choice stands on the axes of the front: its own prediction, sensitivities summed.
std::optional<ScatterPoint> chosen_point(const Json& report) {
  const std::optional<double> predicted = predicted_cost(report);
  if (!predicted) return std::nullopt;
  double harm = 0;
  for (const Json& layer : member(report, "layers"))
    harm += number(layer, "sensitivity").value_or(0);
  return ScatterPoint{.x = *predicted, .y = harm, .label = "chosen", .tone = "after"};
}

void add_front(const Json& report, Page& page) {
  const Json& candidates = member(report, "candidates");
  if (!candidates.is_array() || candidates.empty()) return;
  const bool is_time = candidates.front().contains("predicted_ms");  // all, or none
  std::vector<ScatterPoint> points;
  bool has_choice = false;
  for (const Json& candidate : candidates) {
    const std::optional<double> at = number(candidate, is_time ? "predicted_ms" : "cost");
    const std::optional<double> harm = number(candidate, "divergence");
    if (!at || !harm) continue;
    const Json& method = member(candidate, "method");
    const bool is_control = member(candidate, "control") == true;
    const bool is_chosen = member(candidate, "chosen") == true;
    has_choice = has_choice || is_chosen;
    points.push_back({.x = *at,
                      .y = *harm,
                      .label = is_chosen                          ? "chosen"
                               : is_control && method.is_string() ? word(method)
                                                                  : "",
                      .tone = is_chosen    ? "after"
                              : is_control ? "control"
                                           : "hollow",
                      .on_front = !is_control});
  }
  if (points.empty()) return;
  if (const std::optional<ScatterPoint> chosen = chosen_point(report); chosen && !has_choice)
    points.push_back(*chosen);
  page.heading("Quality against speed");
  page.figure(
      scatter_svg(points, is_time ? "predicted latency in ms" : "cost as the pass counts it",
                  "divergence of the outputs"),
      "Each ring is what another budget would have bought; the line is the front. Lower "
      "and further left is better.");
}

void add_tried(const Json& report, Page& page) {
  const Json& tried = member(report, "tried");
  if (!tried.is_array() || tried.empty()) return;
  page.heading("What was tried");
  std::vector<std::vector<Cell>> rows;
  for (const Json& one : tried)
    rows.push_back({{fmt::format("{:.2f}x", number(one, "pruning").value_or(1))},
                    {fmt::format("{:.2f}", number(one, "points_lost").value_or(0))}});
  page.table({"pruning, beside int8", "points lost"}, rows);
}

void add_passes(const Json& report, Page& page) {
  const Json& passes = member(report, "passes");
  if (!passes.is_array() || passes.empty()) return;
  page.heading("What was done");
  std::vector<std::vector<Cell>> rows;
  for (const Json& pass : passes) {
    std::string counted;
    for (const auto& [name, value] : member(pass, "counters").items())
      counted +=
          fmt::format("{}{}: {:.6g}", counted.empty() ? "" : "; ", name, value.get<double>());
    rows.push_back({{.text = word(member(pass, "name")), .detail = counted},
                    {fmt::format("{:.1f} s", number(pass, "ms").value_or(0) / 1e3)},
                    {fmt::format("{:.0f}", number(pass, "parameters_before").value_or(0))},
                    {fmt::format("{:.0f}", number(pass, "parameters_after").value_or(0))}});
  }
  page.table({"pass", "time", "parameters before", "after"}, rows);
}

std::string title_of(const Json& report) {
  return fmt::format("{}: {}", word(member(report, "command")), word(member(report, "model")));
}

std::vector<Tile> tiles_of(const Json& report) {
  std::vector<Tile> tiles = {
      {is_met(report) ? "met" : "missed", "verdict", is_met(report) ? "good" : "bad"}};
  for (const Change& change : changes_of(report)) {
    const bool is_latency = change.name == "latency, median";
    if (is_latency) tiles.push_back({change.after_text, "median latency, " + change.change});
    if (change.name == "size") tiles.push_back({change.after_text, change.change});
    if (change.change.ends_with("points")) tiles.push_back({change.change, change.name});
    if (!change.before) tiles.push_back({change.after_text, change.name});
  }
  return tiles;
}

}  // namespace

std::string optimization_html(const Json& report) {
  Page page("rtai " + title_of(report));
  page.paragraph(fmt::format("Written to {}. Asked for: {}.", word(member(report, "output")),
                             request_of(report)));
  page.tiles(tiles_of(report));
  for (const Json& goal : member(report, "goals"))
    page.paragraph(verdict_of(goal));
  add_changes(report, page);
  add_layers(report, page);
  add_front(report, page);
  add_tried(report, page);
  add_passes(report, page);
  page.note(
      fmt::format("rtai {}; seed {}; {:.1f} s in all. Latencies are of {}, both models measured in "
                  "turn, without tokenization and loading.",
                  word(member(report, "rtai_version")), word(member(report, "seed")),
                  number(report, "seconds").value_or(0), word(member(report, "workload"))));
  return page.html();
}

std::string optimization_markdown(const Json& report) {
  std::string text = fmt::format(
      "### rtai {}\n\n**{}** (asked for: {})\n\n| | before | after | change |\n| --- | ---: | ---: "
      "| ---: |\n",
      title_of(report), is_met(report) ? "met" : "missed", request_of(report));
  for (const Change& change : changes_of(report))
    text += fmt::format("| {} | {} | {} | {} |\n", change.name, change.before_text,
                        change.after_text, change.change);
  text += "\n";
  for (const Json& goal : member(report, "goals"))
    text += fmt::format("- {}\n", verdict_of(goal));
  return text + fmt::format("\nLatencies are of {}.\n\n", word(member(report, "workload")));
}

std::string optimization_junit(const Json& report) {
  std::vector<JunitCase> cases;
  const double seconds = number(report, "seconds").value_or(0);
  for (const Json& goal : member(report, "goals")) {
    const std::string text = word(member(goal, "goal"));
    cases.push_back({title_of(report) + ": " + text.substr(0, text.find(':')),
                     member(goal, "met") == true ? std::nullopt : std::optional(text), seconds});
  }
  if (cases.empty()) cases.push_back({title_of(report), std::nullopt, seconds});
  return junit_xml("rtai " + word(member(report, "command")), cases);
}

}  // namespace rtai::tools
