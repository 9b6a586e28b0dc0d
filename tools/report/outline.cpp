#include "tools/report/outline.h"

#include "runtime/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace rtai::tools {
namespace {

using onnx_io::DeclaredValue;
using onnx_io::Outline;

Json values_json(std::span<const DeclaredValue> values) {
  Json json = Json::array();
  for (const DeclaredValue& value : values) {
    Json shape = nullptr;
    if (value.dims) {
      shape = Json::array();
      for (const ir::Dim& dim : *value.dims)
        shape.push_back(dim.is_fixed() ? Json(dim.size) : Json(dim.symbol));
    }
    json.push_back({{"name", value.name}, {"type", value.element}, {"shape", shape}});
  }
  return json;
}

/// "pytorch 2.1", "IR version 8", "opset 17", "com.microsoft 1"
std::vector<std::string> origin(const Outline& outline) {
  std::vector<std::string> parts = {outline.producer.empty() ? "unknown" : outline.producer};
  if (outline.ir_version > 0) parts.push_back(fmt::format("IR version {}", outline.ir_version));
  for (const auto& [domain, version] : outline.opsets)
    parts.push_back(fmt::format("{} {}", domain == "ai.onnx" ? "opset" : domain, version));
  return parts;
}

/// Names stand in one column and types in the next.
void add_values(Card& card, std::string_view key, std::span<const DeclaredValue> values) {
  constexpr std::size_t kMostShown = 12;
  std::size_t width = 0;
  const auto shown = values.first(std::min(values.size(), kMostShown));
  for (const DeclaredValue& value : shown)
    width = std::max<std::size_t>(width, text::count_characters(value.name));
  for (const DeclaredValue& value : shown) {
    const std::string padding(width - text::count_characters(value.name), ' ');
    card.add(key, fmt::format("{}{}  {} {}", value.name, padding, value.element, dims_text(value)));
  }
  if (values.size() > shown.size())
    card.add(key, fmt::format("and {} more", values.size() - shown.size()));
}

/// What the nodes of a group have in common.
struct Obstacles {
  const ir::Obstacle* first;
  std::vector<std::string> nodes;
};

std::vector<Obstacles> grouped(std::span<const ir::Obstacle> obstacles) {
  std::vector<Obstacles> groups;
  std::map<std::pair<std::string_view, std::string_view>, std::size_t> places;
  for (const ir::Obstacle& obstacle : obstacles) {
    const auto [place, is_new] = places.try_emplace({obstacle.op, obstacle.reason}, groups.size());
    if (is_new) groups.push_back({&obstacle, {}});
    groups[place->second].nodes.push_back(fmt::format("'{}'", obstacle.node));
  }
  return groups;
}

}  // namespace

Json file_json(const Outline& outline) {
  return {{"producer", outline.producer},
          {"ir_version", outline.ir_version},
          {"opsets", outline.opsets},
          {"inputs", values_json(outline.inputs)},
          {"outputs", values_json(outline.outputs)},
          {"nodes", tally_total(outline.operators)},
          {"operators", tally_json(outline.operators)}};
}

void add_file(Card& card, const Outline& outline) {
  card.add_list("written by", origin(outline));
  add_values(card, "input", outline.inputs);
  add_values(card, "output", outline.outputs);
  card.add("nodes", std::to_string(tally_total(outline.operators)));
  card.add_list("operators", tally_items(outline.operators));
}

Json obstacles_json(std::span<const ir::Obstacle> obstacles) {
  constexpr std::size_t kMostListed = 1000;
  Json json = Json::array();
  for (const ir::Obstacle& obstacle : obstacles.first(std::min(obstacles.size(), kMostListed))) {
    json.push_back(
        {{"node", obstacle.node}, {"operator", obstacle.op}, {"reason", obstacle.reason}});
  }
  return json;
}

std::string obstacles_text(std::span<const ir::Obstacle> obstacles) {
  constexpr std::size_t kMostGroups = 20;
  constexpr std::size_t kMostNodes = 12;
  if (obstacles.empty()) return "";
  const std::vector<Obstacles> groups = grouped(obstacles);
  std::string text = "in the way\n\n";
  for (const Obstacles& group : std::span(groups).first(std::min(groups.size(), kMostGroups))) {
    Card nodes;
    nodes.add_list("", group.nodes, kMostNodes);
    text += fmt::format("  {}: {}\n{}", group.first->op, group.first->reason, nodes.text());
  }
  if (groups.size() > kMostGroups)
    text += fmt::format("  and {} more kinds, see --json\n", groups.size() - kMostGroups);
  return text;
}

std::string declared_text(const DeclaredValue& value) {
  return fmt::format("{} {}{}", value.name, value.element, dims_text(value));
}

}  // namespace rtai::tools
