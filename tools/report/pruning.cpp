#include "tools/report/pruning.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <string>

namespace rtai::tools {
namespace {

/// Decisions of the pass as `layers` of the report: the layers of the dense model, pruned ones
/// included.
Json layers_of(const FigureTable& modules, bool is_time) {
  std::map<double, Json> layers;
  for (const std::vector<double>& row : modules.rows) {
    std::map<std::string, double> figures;
    for (std::size_t i = 0; i < row.size(); ++i)
      figures[modules.columns[i]] = row[i];
    Json& layer = layers[figures["layer"]];
    const bool is_ffn = figures["is_ffn"] != 0;
    layer[is_ffn ? "ffn" : "heads"] = static_cast<Index>(figures["units"]);
    layer[is_ffn ? "ffn_before" : "heads_before"] = static_cast<Index>(figures["units_before"]);
    layer[is_ffn ? "ffn_sensitivity" : "heads_sensitivity"] = figures["divergence"];
    layer["sensitivity"] = layer.value("sensitivity", 0.0) + figures["divergence"];
    if (is_time) layer["cost_us"] = layer.value("cost_us", 0.0) + 1e3 * figures["cost"];
  }
  Json list = Json::array();
  for (auto& [index, layer] : layers) {
    layer["precision"] = "f32";
    if (!is_time) layer["cost_us"] = nullptr;
    list.push_back(std::move(layer));
  }
  return list;
}

const char* cost_key(bool is_time) {
  return is_time ? "predicted_ms" : "cost";
}

}  // namespace

void describe_pruning(const PassRecord& record, bool is_time, OptimizationReport& report) {
  for (const FigureTable& table : record.report.tables) {
    if (table.name == "modules") report.decisions = layers_of(table, is_time);
    if (table.name != "front") continue;
    for (const std::vector<double>& row : table.rows)
      report.candidates.push_back({{cost_key(is_time), row[0]}, {"divergence", row[1]}});
  }
  if (is_time) report.predicted_ms = counter_of(record, "cost predicted");
}

void describe_candidate(const PassRecord& record,
                        bool is_time,
                        double divergence,
                        OptimizationReport& report) {
  Json candidate = {{cost_key(is_time), counter_of(record, "cost predicted").value_or(0)},
                    {"divergence", divergence}};
  if (const auto measured = counter_of(record, "cost measured")) candidate["measured"] = *measured;
  report.candidates.push_back(std::move(candidate));
}

}  // namespace rtai::tools
