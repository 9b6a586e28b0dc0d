#include "tools/report/optimization.h"

#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"
#include "tools/report/table.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace rtai::tools {
namespace {

template <class T>
Json optional_json(const std::optional<T>& value) {
  return value ? Json(*value) : Json(nullptr);
}

Json latency_json(const std::optional<LatencySummary>& latency) {
  if (!latency) return nullptr;
  return {{"min", latency->min}, {"p50", latency->p50}, {"p99", latency->p99}};
}

Json passes_json(const std::vector<PassRecord>& passes) {
  Json list = Json::array();
  for (const PassRecord& record : passes) {
    Json counters = Json::object();
    for (const Counter& counter : record.report.counters)
      counters[counter.name] = counter.value;
    list.push_back({{"name", record.name},
                    {"ms", record.time.count()},
                    {"parameters_before", record.before.parameters},
                    {"parameters_after", record.after.parameters},
                    {"counters", counters}});
  }
  return list;
}

Index width_of(const ir::Graph& graph, ir::NodeId linear) {
  return graph.constant(graph.node(linear).input(ir::Linear::weight))->dim(0);
}

/// The decisions with the precision that the layers which are left have in the end.
Json decided_layers(Json decisions, const Json& layers) {
  std::size_t left = 0;
  for (Json& layer : decisions) {
    const bool is_gone = layer.value("heads", 0) == 0 && layer.value("ffn", 0) == 0;
    if (is_gone || left >= layers.size()) continue;
    layer["precision"] = layers[left++]["precision"];
  }
  return decisions;
}

std::string value_text(const std::optional<double>& value) {
  return value ? fmt::format("{:.4f}", *value) : "not measured";
}

}  // namespace

std::string precision_of(const ir::Graph& graph, const ir::Node& node) {
  const ir::Attributes& attributes = node.attributes();
  if (node.op() == ir::Op::attention) return attributes.integer("bits", 0) == 8 ? "i8" : "f32";
  const bool is_linear = node.op() == ir::Op::linear;
  const std::size_t weight = is_linear ? std::size_t{ir::Linear::weight} : ir::Embedding::word;
  const DType dtype = graph.type(node.input(weight)).dtype;
  if (dtype != DType::i8) return std::string(dtype_name(dtype));
  const char* group = is_linear ? "weight_group" : "word_group";
  const std::string bits = attributes.integer(group, 0) > 0 ? "i4" : "i8";
  if (!is_linear) return bits;
  return bits + (attributes.real("src_scale", 0.0f) > 0 ? " static" : " dynamic");
}

Loss loss_of(const Quality& before, const Quality& after) {
  constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
  if (before.value && after.value) return {100 * (*before.value - *after.value), after.metric};
  return {after.agreement ? 100 * (1 - *after.agreement) : kUnknown, "agreement"};
}

Json quality_json(const std::optional<Quality>& quality) {
  if (!quality) return nullptr;
  return {{"metric", quality->metric},
          {"value", optional_json(quality->value)},
          {"agreement", optional_json(quality->agreement)},
          {"nmse", optional_json(quality->nmse)},
          {"kl", optional_json(quality->kl)}};
}

std::optional<double> counter_of(const PassRecord& record, std::string_view name) {
  const auto& counters = record.report.counters;
  const auto found = std::ranges::find(counters, name, &Counter::name);
  return found == counters.end() ? std::nullopt : std::optional(found->value);
}

std::optional<Verdict> judge_time(const OptimizationReport& report,
                                  std::optional<double> speedup,
                                  std::optional<double> latency_ms) {
  const bool is_at_end = std::ranges::any_of(
      report.passes, [](const PassRecord& pass) { return counter_of(pass, "target met") == 0.0; });
  const std::string hint = is_at_end
                               ? "pruning can take no more at this workload; ask for less"
                               : "measure again while nothing else runs, or ask for a little more";
  const double median = report.latency_after->p50;
  if (speedup) {
    return Verdict{.text = fmt::format("speedup {}: {:.3f} measured", *speedup, *report.speedup),
                   .is_missed = *report.speedup < *speedup,
                   .hint = hint};
  }
  if (latency_ms) {
    return Verdict{.text = fmt::format("latency {} ms: {:.3f} ms measured", *latency_ms, median),
                   .is_missed = median > *latency_ms,
                   .hint = hint};
  }
  return std::nullopt;
}

Json describe_layers(const ir::Graph& graph) {
  Json layers = Json::array();
  for (const ir::EncoderLayer& layer : ir::find_layers(graph)) {
    Json precision = Json::object();
    Json described = {{"heads", 0}, {"ffn", 0}};
    if (layer.attention) {
      described["heads"] = ir::head_shape(graph.node(layer.attention->attention)).heads;
      precision["qkv"] = precision_of(graph, graph.node(layer.attention->qkv));
      precision["attention_out"] = precision_of(graph, graph.node(layer.attention->out));
    }
    if (layer.ffn) {
      described["ffn"] = width_of(graph, layer.ffn->in);
      precision["ffn_in"] = precision_of(graph, graph.node(layer.ffn->in));
      precision["ffn_out"] = precision_of(graph, graph.node(layer.ffn->out));
    }
    described["precision"] = std::move(precision);
    described["sensitivity"] = nullptr;
    described["cost_us"] = nullptr;
    layers.push_back(std::move(described));
  }
  return layers;
}

std::vector<std::string> OptimizationReport::missed() const {
  std::vector<std::string> lines;
  for (const Verdict& verdict : verdicts) {
    if (verdict.is_missed) lines.push_back(verdict.text);
  }
  return lines;
}

Json OptimizationReport::json() const {
  Json goals = Json::array();
  for (const Verdict& verdict : verdicts)
    goals.push_back({{"goal", verdict.text}, {"met", !verdict.is_missed}});
  return {{"schema", "rtai.optimization/1"},
          {"rtai_version", version()},
          {"command", command},
          {"verdict", missed().empty() ? "met" : "missed"},
          {"missed", missed()},
          {"goals", std::move(goals)},
          {"model", model},
          {"output", output},
          {"request", request},
          {"workload", workload},
          {"seed", seed},
          {"layers", decisions.is_null() ? layers : decided_layers(decisions, layers)},
          {"sites", sites},
          {"passes", passes_json(passes)},
          {"latency_ms",
           {{"predicted", optional_json(predicted_ms)},
            {"before", latency_json(latency_before)},
            {"after", latency_json(latency_after)}}},
          {"speedup", optional_json(speedup)},
          {"bytes", {{"before", bytes_before}, {"after", bytes_after}}},
          {"quality",
           {{"before", quality_json(quality_before)}, {"after", quality_json(quality_after)}}},
          {"candidates", candidates},
          {"tried", tried},
          {"seconds", seconds}};
}

std::string OptimizationReport::text() const {
  std::string text = fmt::format("{} -> {}\n\n", model, output);
  Table table({"", "before", "after", "change"});
  table.add({"size", human_bytes(static_cast<double>(bytes_before)),
             human_bytes(static_cast<double>(bytes_after)),
             bytes_after > 0 ? fmt::format("{:.2f}x smaller", static_cast<double>(bytes_before) /
                                                                  static_cast<double>(bytes_after))
                             : ""});
  if (speedup) {
    table.add({"latency p50", human_ms(latency_before->p50), human_ms(latency_after->p50),
               fmt::format("{:.2f}x faster", *speedup)});
  }
  if (quality_before && quality_after) {
    const bool measured = quality_before->value && quality_after->value;
    table.add(
        {quality_after->metric, value_text(quality_before->value), value_text(quality_after->value),
         measured
             ? fmt::format("{:+.2f} points", 100 * (*quality_after->value - *quality_before->value))
             : ""});
    if (quality_after->agreement)
      table.add({"agreement", "", fmt::format("{:.2f} %", 100 * *quality_after->agreement), ""});
    if (quality_after->nmse)
      table.add({"nmse of logits", "", fmt::format("{:.2e}", *quality_after->nmse), ""});
  }
  text += table.text();
  // Without measurements there is no order to show.
  if (!sites.is_null() && !sites.empty() && !sites[0]["sensitivity"].is_null()) {
    Table ranking({"most sensitive", "precision", "sensitivity", "time us", "in f32 us"});
    const auto us = [](const Json& value) {
      return value.is_null() ? "" : fmt::format("{:.0f}", value.get<double>());
    };
    for (std::size_t i = 0; i < std::min<std::size_t>(sites.size(), 5); ++i) {
      const Json& site = sites[i];
      ranking.add({site["name"].get<std::string>(), site["precision"].get<std::string>(),
                   fmt::format("{:.1e}", site["sensitivity"].get<double>()), us(site["cost_us"]),
                   us(site["f32_cost_us"])});
    }
    text += "\n" + ranking.text();
  }
  if (!tried.empty()) {
    Table search({"pruning, beside int8", "points lost"});
    for (const Json& one : tried)
      search.add({fmt::format("{:.2f}x", one["pruning"].get<double>()),
                  fmt::format("{:.2f}", one["points_lost"].get<double>())});
    text += "\n" + search.text();
  }
  text += fmt::format("\nlatency of {}, both models in turn\n", workload);
  for (const Verdict& verdict : verdicts)
    text += fmt::format("{}: {}\n", verdict.is_missed ? "missed" : "met", verdict.text);
  for (const Verdict& verdict : verdicts) {
    if (verdict.is_missed && !verdict.hint.empty()) text += fmt::format("hint: {}\n", verdict.hint);
  }
  if (!quality_after)
    text += "quality was not judged: --calib or --eval names the texts to judge it by\n";
  text +=
      fmt::format("wrote {}{} in {:.1f} s\n", output,
                  written.empty() ? "" : fmt::format(", {}", fmt::join(written, ", ")), seconds);
  return text;
}

}  // namespace rtai::tools
