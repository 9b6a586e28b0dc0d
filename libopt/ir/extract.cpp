#include "libopt/ir/extract.h"

#include <algorithm>
#include <map>
#include <set>

namespace rtai::ir {
namespace {

/// The nodes that make `wanted`, as far as `given` does not.
std::set<NodeId> needed_nodes(const Graph& graph,
                              const std::set<ValueId>& given,
                              std::span<const ValueId> wanted) {
  std::set<NodeId> needed;
  std::vector<ValueId> open(wanted.begin(), wanted.end());
  while (!open.empty()) {
    const ValueId value = open.back();
    open.pop_back();
    if (value == kNoValue || given.contains(value)) continue;
    const auto producer = graph.value(value).producer;
    if (!producer || !needed.insert(*producer).second) continue;
    const auto inputs = graph.node(*producer).inputs();
    open.insert(open.end(), inputs.begin(), inputs.end());
  }
  return needed;
}

}  // namespace

Graph extract(const Graph& graph, std::span<const ValueId> from, std::span<const ValueId> wanted) {
  const std::set<NodeId> needed = needed_nodes(graph, {from.begin(), from.end()}, wanted);
  Graph part;
  std::map<ValueId, ValueId> made = {{kNoValue, kNoValue}};
  for (const ValueId input : from)
    made[input] = part.add_input(graph.name(input), graph.type(input));
  for (const ValueId input : graph.inputs()) {
    const auto users = graph.users(input);
    const bool used = std::any_of(users.begin(), users.end(),
                                  [&](NodeId user) { return needed.contains(user); }) ||
                      std::find(wanted.begin(), wanted.end(), input) != wanted.end();
    if (used && !made.contains(input))
      made[input] = part.add_input(graph.name(input), graph.type(input));
  }
  for (const NodeId id : graph.order()) {
    if (!needed.contains(id)) continue;
    const Node& node = graph.node(id);
    NodeSpec spec{.op = node.op(),
                  .inputs = {},
                  .outputs = {},
                  .attributes = node.attributes(),
                  .name = node.name()};
    for (const ValueId input : node.inputs()) {
      if (!made.contains(input))
        made[input] = part.add_constant(graph.name(input), *graph.constant(input));
      spec.inputs.push_back(made.at(input));
    }
    for (const ValueId output : node.outputs())
      spec.outputs.push_back(graph.type(output));
    const NodeId copy = part.append(std::move(spec));
    for (std::size_t i = 0; i < node.outputs().size(); ++i) {
      part.rename(part.node(copy).output(i), graph.name(node.output(i)));
      made[node.output(i)] = part.node(copy).output(i);
    }
  }
  std::vector<ValueId> outputs;
  for (const ValueId value : wanted) {
    if (!made.contains(value))
      made[value] = part.add_constant(graph.name(value), *graph.constant(value));
    outputs.push_back(made.at(value));
  }
  part.set_outputs(std::move(outputs));
  return part;
}

}  // namespace rtai::ir
