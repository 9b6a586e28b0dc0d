#include "tools/report/quantizing.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

namespace rtai::tools {
namespace {

Json number_or_null(double value) {
  return std::isnan(value) ? Json(nullptr) : Json(value);
}

/// The sites "layer.3.qkv", "layer.3.ffn_in", ... of a layer, by what follows its name.
Json figures_of_layer(const Json& sites, std::size_t layer, const char* figure) {
  const std::string prefix = fmt::format("layer.{}.", layer);
  Json figures = Json::object();
  for (const Json& site : sites) {
    const std::string name = site["name"].get<std::string>();
    if (name.starts_with(prefix)) figures[name.substr(prefix.size())] = site[figure];
  }
  return figures;
}

}  // namespace

void describe_quantization(const ir::Graph& graph,
                           const PassRecord& record,
                           OptimizationReport& report) {
  const auto& tables = record.report.tables;
  const auto table = std::ranges::find(tables, "sites", &FigureTable::name);
  if (table == tables.end()) return;
  std::map<std::string, const ir::Node*> nodes;
  for (const ir::NodeId id : graph.order())
    nodes[graph.node(id).name()] = &graph.node(id);
  std::vector<Json> sites;
  for (std::size_t i = 0; i < table->rows.size(); ++i) {
    sites.push_back({{"name", table->names[i]},
                     {"precision", precision_of(graph, *nodes.at(table->names[i]))},
                     {"sensitivity", number_or_null(table->rows[i][0])},
                     {"cost_us", number_or_null(table->rows[i][1])},
                     {"f32_cost_us", number_or_null(table->rows[i][2])}});
  }
  std::ranges::stable_sort(sites, std::greater<>(), [](const Json& site) {
    return site["sensitivity"].is_null() ? 0.0 : site["sensitivity"].get<double>();
  });
  report.sites = sites;
  report.decisions = describe_layers(graph);
  for (std::size_t i = 0; i < report.decisions.size(); ++i) {
    report.decisions[i]["sensitivity"] = figures_of_layer(report.sites, i, "sensitivity");
    report.decisions[i]["cost_us"] = figures_of_layer(report.sites, i, "cost_us");
  }
}

}  // namespace rtai::tools
