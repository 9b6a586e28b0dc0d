#include "libopt/ir/graph.h"
#include "libopt/ir/ops.h"

#include <fmt/format.h>

#include <set>

namespace rtai::ir {
namespace {

Error broken(const Node& node, std::string_view what) {
  return Error{ErrorCode::internal, std::string(what)}.in(
      fmt::format("node '{}' ({})", node.name(), info(node.op()).name));
}

Result<void> verify_node(const Graph& graph, const Node& node, const std::set<ValueId>& made) {
  const OpInfo& op = info(node.op());
  const auto inputs = static_cast<int>(node.inputs().size());
  if (inputs < op.fewest_inputs || (op.most_inputs >= 0 && inputs > op.most_inputs)) {
    return broken(node, fmt::format("has {} inputs", inputs));
  }
  const auto outputs = static_cast<int>(node.outputs().size());
  if (outputs < 1 || (op.outputs >= 0 && outputs > op.outputs)) {
    return broken(node, fmt::format("has {} outputs", outputs));
  }
  for (const ValueId input : node.inputs()) {
    if (input == kNoValue || graph.is_constant(input) || made.contains(input)) continue;
    return broken(node, fmt::format("uses '{}' before it is made", graph.name(input)));
  }
  if (op.level != Level::transformer) return {};
  const auto type = infer_type(graph, node.op(), node.inputs(), node.attributes());
  if (!type) return broken(node, type.error().message());
  if (*type == graph.type(node.output())) return {};
  return broken(node, fmt::format("result is {}, expected {}", to_string(graph.type(node.output())),
                                  to_string(*type)));
}

}  // namespace

Result<void> verify(const Graph& graph) {
  std::set<ValueId> made(graph.inputs().begin(), graph.inputs().end());
  for (const NodeId id : graph.order()) {
    const Node& node = graph.node(id);
    RTAI_TRY_VOID(verify_node(graph, node, made));
    for (const ValueId output : node.outputs()) {
      if (graph.producer(output) != &node) return broken(node, "does not own its result");
      if (!made.insert(output).second) {
        return broken(node, fmt::format("makes '{}' again", graph.name(output)));
      }
    }
  }
  for (const ValueId output : graph.outputs()) {
    if (graph.is_constant(output) || made.contains(output)) continue;
    return Error{ErrorCode::internal, fmt::format("output '{}' is never made", graph.name(output))};
  }
  return {};
}

}  // namespace rtai::ir
