#include "libopt/onnx/internal/order.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <queue>
#include <set>

namespace rtai::onnx_io {
namespace {

/// Appends what a graph within a node reads and does not make itself.
void append_captured(const onnx::GraphProto& graph, std::vector<std::string_view>& names) {
  std::set<std::string_view> own;
  for (const onnx::TensorProto& initializer : graph.initializer())
    own.insert(initializer.name());
  for (const onnx::ValueInfoProto& input : graph.input())
    own.insert(input.name());
  for (const onnx::NodeProto& node : graph.node())
    own.insert(node.output().begin(), node.output().end());
  const auto append = [&](std::string_view name) {
    if (!own.contains(name)) names.push_back(name);
  };
  for (const onnx::NodeProto& node : graph.node())
    std::ranges::for_each(names_read(node), append);
  for (const onnx::ValueInfoProto& output : graph.output())
    append(output.name());
}

class Sorter {
 public:
  explicit Sorter(const onnx::GraphProto& graph)
      : graph_(graph),
        users_(static_cast<std::size_t>(graph.node_size())),
        waiting_(static_cast<std::size_t>(graph.node_size()), 0) {}

  Result<void> find_makers(const KnownValues& known) {
    for (int i = 0; i < graph_.node_size(); ++i) {
      for (const std::string& output : graph_.node(i).output()) {
        if (output.empty()) continue;
        if (known.contains(output) || !makers_.emplace(output, i).second) {
          return invalid_input(fmt::format("{} makes '{}', which is there already",
                                           place_of(graph_.node(i)), output));
        }
      }
    }
    return {};
  }

  Result<void> find_users(const KnownValues& known) {
    for (int i = 0; i < graph_.node_size(); ++i) {
      for (const std::string_view input : names_read(graph_.node(i))) {
        if (input.empty() || known.contains(input)) continue;
        const auto maker = makers_.find(input);
        if (maker == makers_.end()) {
          return invalid_input(
              fmt::format("{} reads '{}', which nothing makes", place_of(graph_.node(i)), input));
        }
        users_[static_cast<std::size_t>(maker->second)].push_back(i);
        ++waiting_[static_cast<std::size_t>(i)];
      }
    }
    return {};
  }

  Result<std::vector<int>> sorted() {
    std::priority_queue<int, std::vector<int>, std::greater<>> ready;
    for (int i = 0; i < graph_.node_size(); ++i) {
      if (waiting_[static_cast<std::size_t>(i)] == 0) ready.push(i);
    }
    std::vector<int> order;
    while (!ready.empty()) {
      const int next = ready.top();
      ready.pop();
      order.push_back(next);
      for (const int user : users_[static_cast<std::size_t>(next)]) {
        if (--waiting_[static_cast<std::size_t>(user)] == 0) ready.push(user);
      }
    }
    if (static_cast<int>(order.size()) == graph_.node_size()) return order;
    const auto stuck =
        std::find_if(waiting_.begin(), waiting_.end(), [](int count) { return count > 0; });
    return invalid_input(
        fmt::format("{} depends on its own result",
                    place_of(graph_.node(static_cast<int>(stuck - waiting_.begin())))));
  }

 private:
  const onnx::GraphProto& graph_;
  std::map<std::string_view, int> makers_;  // the node that makes a value
  std::vector<std::vector<int>> users_;
  std::vector<int> waiting_;  // inputs of each node that are not made yet
};

}  // namespace

const std::string& name_of(const onnx::NodeProto& node) {
  return node.name().empty() && node.output_size() > 0 ? node.output(0) : node.name();
}

std::string operator_of(const onnx::NodeProto& node) {
  const bool own = node.domain().empty() || node.domain() == "ai.onnx";
  return own ? node.op_type() : node.domain() + "." + node.op_type();
}

std::string place_of(const onnx::NodeProto& node) {
  return fmt::format("node '{}' ({})", name_of(node), node.op_type());
}

std::vector<std::string_view> names_read(const onnx::NodeProto& node) {
  std::vector<std::string_view> names(node.input().begin(), node.input().end());
  for (const onnx::AttributeProto& attribute : node.attribute()) {
    if (attribute.has_g()) append_captured(attribute.g(), names);
  }
  return names;
}

Result<std::vector<int>> order_of(const onnx::GraphProto& graph, const KnownValues& known) {
  Sorter sorter(graph);
  RTAI_TRY_VOID(sorter.find_makers(known));
  RTAI_TRY_VOID(sorter.find_users(known));
  return sorter.sorted();
}

}  // namespace rtai::onnx_io
