#include "libopt/ir/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace rtai::ir {
namespace {

constexpr auto kOps = std::to_array<OpInfo>({
#define RTAI_OP(name, level, onnx_name, fewest, most, outputs) \
  {Op::name, #name, Level::level, onnx_name, fewest, most, outputs},
#include "libopt/ir/ops.inc"
#undef RTAI_OP
});

}  // namespace

const OpInfo& info(Op op) {
  return kOps[static_cast<std::size_t>(op)];
}

const OpInfo* find_op(std::string_view name) {
  const auto* found =
      std::find_if(kOps.begin(), kOps.end(), [&](const OpInfo& op) { return op.name == name; });
  return found == kOps.end() ? nullptr : found;
}

const OpInfo* find_onnx_op(std::string_view onnx_name) {
  if (onnx_name.empty()) return nullptr;
  const auto* found = std::find_if(kOps.begin(), kOps.end(),
                                   [&](const OpInfo& op) { return op.onnx_name == onnx_name; });
  return found == kOps.end() ? nullptr : found;
}

std::string to_string(const Type& type) {
  std::string text(dtype_name(type.dtype));
  if (!type.dims) return text;
  text += "[";
  for (std::size_t i = 0; i < type.dims->size(); ++i) {
    const Dim& dim = (*type.dims)[i];
    if (i > 0) text += ", ";
    text += dim.is_fixed() ? std::to_string(dim.size) : dim.symbol;
  }
  return text + "]";
}

const Attribute* Attributes::find(const std::string& name) const {
  const auto found = items_.find(name);
  return found == items_.end() ? nullptr : &found->second;
}

std::int64_t Attributes::integer(const std::string& name, std::int64_t fallback) const {
  const Attribute* item = find(name);
  const auto* value = item == nullptr ? nullptr : std::get_if<std::int64_t>(item);
  return value == nullptr ? fallback : *value;
}

float Attributes::real(const std::string& name, float fallback) const {
  const Attribute* item = find(name);
  const auto* value = item == nullptr ? nullptr : std::get_if<float>(item);
  return value == nullptr ? fallback : *value;
}

std::string Attributes::text(const std::string& name, std::string_view fallback) const {
  const Attribute* item = find(name);
  const auto* value = item == nullptr ? nullptr : std::get_if<std::string>(item);
  return value == nullptr ? std::string(fallback) : *value;
}

std::vector<std::int64_t> Attributes::integers(const std::string& name) const {
  const Attribute* item = find(name);
  const auto* value = item == nullptr ? nullptr : std::get_if<std::vector<std::int64_t>>(item);
  return value == nullptr ? std::vector<std::int64_t>{} : *value;
}

ValueId Graph::add_value(std::string name, Type type) {
  const auto id = static_cast<ValueId>(values_.size());
  if (name.empty()) name = fmt::format("v{}", values_.size());
  std::string unique = name;
  for (int suffix = 1; names_.contains(unique); ++suffix)
    unique = fmt::format("{}.{}", name, suffix);
  names_.emplace(unique, id);
  values_.push_back({.name = std::move(unique),
                     .type = std::move(type),
                     .producer = std::nullopt,
                     .constant = std::nullopt,
                     .users = {}});
  return id;
}

ValueId Graph::add_input(std::string name, Type type) {
  const ValueId id = add_value(std::move(name), std::move(type));
  inputs_.push_back(id);
  return id;
}

ValueId Graph::add_constant(std::string name, Tensor tensor) {
  const ValueId id = add_value(std::move(name), {});
  set_constant(id, std::move(tensor));
  return id;
}

void Graph::set_constant(ValueId value, Tensor tensor) {
  RTAI_ASSERT(!value_at(value).producer, "a value that a node makes cannot become a constant");
  value_at(value).type = {tensor.dtype(),
                          std::vector<Dim>(tensor.dims().begin(), tensor.dims().end())};
  value_at(value).constant = std::move(tensor);
}

void Graph::rename(ValueId value, std::string name) {
  if (value_at(value).name == name) return;
  names_.erase(value_at(value).name);
  std::string unique = name;
  for (int suffix = 1; names_.contains(unique); ++suffix)
    unique = fmt::format("{}.{}", name, suffix);
  names_.emplace(unique, value);
  value_at(value).name = std::move(unique);
}

const Tensor* Graph::constant(ValueId id) const {
  return is_constant(id) ? &*value(id).constant : nullptr;
}

const Node* Graph::producer(ValueId id) const {
  if (id == kNoValue || !value(id).producer) return nullptr;
  return &node(*value(id).producer);
}

std::optional<ValueId> Graph::find_value(std::string_view name) const {
  const auto found = names_.find(name);
  if (found == names_.end()) return std::nullopt;
  return found->second;
}

NodeId Graph::make_node(NodeSpec spec) {
  const auto id = static_cast<NodeId>(nodes_.size());
  Node node;
  node.op_ = spec.op;
  node.inputs_ = std::move(spec.inputs);
  node.attributes_ = std::move(spec.attributes);
  for (const ValueId input : node.inputs_) {
    if (input != kNoValue) value_at(input).users.push_back(id);
  }
  for (Type& type : spec.outputs) {
    // Names must not depend on what passes removed before: they are the operator and a running
    // number.
    const std::string name = fmt::format("{}{}", info(spec.op).name, nodes_.size());
    const ValueId output = add_value(name, std::move(type));
    value_at(output).producer = id;
    node.outputs_.push_back(output);
  }
  node.name_ = std::move(spec.name);
  nodes_.push_back(std::move(node));
  return id;
}

NodeId Graph::append(NodeSpec spec) {
  const NodeId id = make_node(std::move(spec));
  order_.push_back(id);
  return id;
}

NodeId Graph::insert_before(NodeId place, NodeSpec spec) {
  const NodeId id = make_node(std::move(spec));
  const auto at = std::find(order_.begin(), order_.end(), place);
  RTAI_ASSERT(at != order_.end(), "the place is a node of the graph");
  order_.insert(at, id);
  return id;
}

void Graph::remove_user(ValueId value, NodeId user) {
  std::vector<NodeId>& users = value_at(value).users;
  const auto found = std::find(users.begin(), users.end(), user);
  if (found != users.end()) users.erase(found);
}

void Graph::erase(NodeId id) {
  Node& dead = node(id);
  for (const ValueId output : dead.outputs_) {
    RTAI_ASSERT(value(output).users.empty(), "only a node without users is erased");
    value_at(output).producer.reset();
    names_.erase(value(output).name);
  }
  for (const ValueId input : dead.inputs_) {
    if (input != kNoValue) remove_user(input, id);
  }
  dead = Node{};
  order_.erase(std::find(order_.begin(), order_.end(), id));
}

void Graph::set_input(NodeId id, std::size_t i, ValueId value) {
  ValueId& slot = node(id).inputs_[i];
  if (slot != kNoValue) remove_user(slot, id);
  slot = value;
  if (value != kNoValue) value_at(value).users.push_back(id);
}

void Graph::resize_inputs(NodeId id, std::size_t count) {
  std::vector<ValueId>& inputs = node(id).inputs_;
  if (inputs.size() < count) inputs.resize(count, kNoValue);
}

void Graph::replace_uses(ValueId from, ValueId to) {
  if (from == to) return;
  const std::vector<NodeId> users = std::exchange(value_at(from).users, {});
  for (const NodeId user : users) {
    for (ValueId& slot : node(user).inputs_) {
      if (slot != from) continue;
      slot = to;
      value_at(to).users.push_back(user);
      break;  // once per entry of `users`
    }
  }
  std::replace(outputs_.begin(), outputs_.end(), from, to);
}

std::vector<NodeId> Graph::nodes_of(Op op) const {
  std::vector<NodeId> found;
  std::copy_if(order_.begin(), order_.end(), std::back_inserter(found),
               [&](NodeId id) { return node(id).op() == op; });
  return found;
}

bool Graph::erase_dead() {
  const std::set<ValueId> kept(outputs_.begin(), outputs_.end());
  bool changed = false;
  for (std::size_t i = order_.size(); i-- > 0;) {
    const Node& candidate = node(order_[i]);
    const bool used =
        std::any_of(candidate.outputs_.begin(), candidate.outputs_.end(),
                    [&](ValueId v) { return !value(v).users.empty() || kept.contains(v); });
    if (used) continue;
    erase(order_[i]);
    changed = true;
  }
  for (std::size_t i = 0; i < values_.size(); ++i) {
    Value& value = values_[i];
    if (!value.constant || !value.users.empty() || kept.contains(static_cast<ValueId>(i))) continue;
    value.constant.reset();
    names_.erase(value.name);
    changed = true;
  }
  return changed;
}

Result<void> Graph::sort() {
  // Kahn's algorithm, taking the earliest ready node of the old order: already sorted stays put.
  std::map<NodeId, std::size_t> waiting;  // inputs not made yet
  std::map<NodeId, std::size_t> rank;
  for (std::size_t i = 0; i < order_.size(); ++i)
    rank[order_[i]] = i;
  std::set<std::pair<std::size_t, NodeId>> ready;
  for (const NodeId id : order_) {
    std::size_t count = 0;
    for (const ValueId input : node(id).inputs_) {
      if (input != kNoValue && value(input).producer) ++count;
    }
    waiting[id] = count;
    if (count == 0) ready.emplace(rank[id], id);
  }
  std::vector<NodeId> sorted;
  while (!ready.empty()) {
    const NodeId id = ready.begin()->second;
    ready.erase(ready.begin());
    sorted.push_back(id);
    for (const ValueId output : node(id).outputs_) {
      for (const NodeId user : value(output).users) {
        if (--waiting[user] == 0) ready.emplace(rank[user], user);
      }
    }
  }
  if (sorted.size() != order_.size()) {
    const auto stuck =
        std::find_if(order_.begin(), order_.end(), [&](NodeId id) { return waiting[id] > 0; });
    return Error{ErrorCode::invalid_input,
                 fmt::format("node '{}' depends on its own result", node(*stuck).name())};
  }
  order_ = std::move(sorted);
  return {};
}

std::vector<ValueId> Graph::constants() const {
  std::vector<ValueId> found;
  for (std::size_t i = 0; i < values_.size(); ++i) {
    if (values_[i].constant) found.push_back(static_cast<ValueId>(i));
  }
  return found;
}

Footprint footprint(const Graph& graph) {
  Footprint total;
  for (const ValueId id : graph.constants()) {
    const Tensor& tensor = *graph.constant(id);
    total.parameters += tensor.elements();
    total.bytes += std::ssize(tensor.bytes());
  }
  return total;
}

bool is_raised(const Graph& graph) {
  return std::all_of(graph.order().begin(), graph.order().end(),
                     [&](NodeId id) { return info(graph.node(id).op()).level != Level::onnx; });
}

}  // namespace rtai::ir
