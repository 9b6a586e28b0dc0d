// The one graph type: ONNX operators after import, transformer operators after fusion.
//
// A graph is a list of nodes in an order that can be executed: every value is made before it is
// used. Values are inputs, constants or outputs of nodes; each is made once (SSA).
#pragma once

#include "libopt/ir/tensor.h"

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace rtai::ir {

enum class NodeId : std::uint32_t {};
enum class ValueId : std::uint32_t {};

/// An optional input that is not given.
inline constexpr ValueId kNoValue{0xffffffffu};

enum class Op : std::uint8_t {
#define RTAI_OP(name, level, onnx_name, fewest, most, outputs) name,
#include "libopt/ir/ops.inc"
#undef RTAI_OP
};

enum class Level : std::uint8_t { onnx, transformer, both };

struct OpInfo {
  Op op;
  std::string_view name;  // "matmul"
  Level level;
  std::string_view onnx_name;  // "MatMul"; empty at the transformer level
  int fewest_inputs;
  int most_inputs;  // -1: any number
  int outputs;      // at most; -1: any number
};

const OpInfo& info(Op op);
const OpInfo* find_op(std::string_view name);
const OpInfo* find_onnx_op(std::string_view onnx_name);

/// One dimension: a number, or a name for what is known only when the model runs ("batch").
struct Dim {
  Index size = -1;     // -1: symbolic
  std::string symbol;  // empty when size is known

  Dim(Index n) : size(n) {}                           // NOLINT: {2, "seq", 64}
  Dim(std::string name) : symbol(std::move(name)) {}  // NOLINT
  Dim(const char* name) : symbol(name) {}             // NOLINT
  bool is_fixed() const { return size >= 0; }
  friend bool operator==(const Dim&, const Dim&) = default;
};

struct Type {
  DType dtype = DType::f32;
  std::optional<std::vector<Dim>> dims;  // nothing: the rank is not known

  friend bool operator==(const Type&, const Type&) = default;
};

/// "f32[batch, seq, 64]"; "f32" when the rank is not known.
std::string to_string(const Type& type);

using Attribute = std::variant<std::int64_t,
                               float,
                               std::string,
                               std::vector<std::int64_t>,
                               std::vector<float>,
                               Tensor>;

/// Named attributes in alphabetical order.
class Attributes {
 public:
  Attributes() = default;
  Attributes(std::initializer_list<std::pair<const std::string, Attribute>> items)
      : items_(items) {}

  void set(std::string name, Attribute value) { items_.insert_or_assign(std::move(name), value); }
  void erase(const std::string& name) { items_.erase(name); }
  const Attribute* find(const std::string& name) const;

  /// The value, or `fallback` if the attribute is absent or of another type.
  std::int64_t integer(const std::string& name, std::int64_t fallback) const;
  float real(const std::string& name, float fallback) const;
  std::string text(const std::string& name, std::string_view fallback) const;
  std::vector<std::int64_t> integers(const std::string& name) const;

  auto begin() const { return items_.begin(); }
  auto end() const { return items_.end(); }
  bool empty() const { return items_.empty(); }

 private:
  std::map<std::string, Attribute> items_;
};

struct Value {
  std::string name;  // without % or @; unique in the graph
  Type type;
  std::optional<NodeId> producer;  // nothing for inputs and constants
  std::optional<Tensor> constant;
  std::vector<NodeId> users;  // a node that uses the value twice stands here twice
};

class Node {
 public:
  Op op() const { return op_; }
  const std::string& name() const { return name_; }  // as in the source model; for messages
  std::span<const ValueId> inputs() const { return inputs_; }
  /// kNoValue when the optional input is not given.
  ValueId input(std::size_t i) const { return i < inputs_.size() ? inputs_[i] : kNoValue; }
  std::span<const ValueId> outputs() const { return outputs_; }
  ValueId output(std::size_t i = 0) const { return i < outputs_.size() ? outputs_[i] : kNoValue; }

  const Attributes& attributes() const { return attributes_; }
  Attributes& attributes() { return attributes_; }

 private:
  friend class Graph;
  Op op_ = Op::identity;
  std::string name_;
  std::vector<ValueId> inputs_;
  std::vector<ValueId> outputs_;
  Attributes attributes_;
};

/// What a node is made from.
struct NodeSpec {
  Op op;
  std::vector<ValueId> inputs;
  std::vector<Type> outputs;  // one type for each output
  Attributes attributes = {};
  std::string name = {};
};

class Graph {
 public:
  // --- values
  /// `name` is made unique by a suffix if it is taken.
  ValueId add_input(std::string name, Type type);
  ValueId add_constant(std::string name, Tensor tensor);
  /// Replaces the data of a constant; dimensions may change.
  void set_constant(ValueId value, Tensor tensor);
  void set_type(ValueId value, Type type) { value_at(value).type = std::move(type); }
  void rename(ValueId value, std::string name);
  void rename_node(NodeId id, std::string name) { node(id).name_ = std::move(name); }

  const Value& value(ValueId id) const { return values_[static_cast<std::size_t>(id)]; }
  const Type& type(ValueId id) const { return value(id).type; }
  const std::string& name(ValueId id) const { return value(id).name; }
  bool is_constant(ValueId id) const { return id != kNoValue && value(id).constant.has_value(); }
  /// The data of a constant, or null.
  const Tensor* constant(ValueId id) const;
  /// The node that makes the value, or null for inputs and constants.
  const Node* producer(ValueId id) const;
  std::span<const NodeId> users(ValueId id) const { return value(id).users; }
  std::size_t value_count() const { return values_.size(); }
  std::optional<ValueId> find_value(std::string_view name) const;

  // --- nodes
  NodeId append(NodeSpec spec);
  /// Puts the new node before `place` in the order of execution.
  NodeId insert_before(NodeId place, NodeSpec spec);
  /// Removes a node whose outputs nothing uses.
  void erase(NodeId id);
  void set_input(NodeId id, std::size_t i, ValueId value);
  /// Adds absent inputs at the end until there are `count`; never removes one.
  void resize_inputs(NodeId id, std::size_t count);
  /// Every use of `from`, graph outputs included, becomes a use of `to`.
  void replace_uses(ValueId from, ValueId to);

  const Node& node(NodeId id) const { return nodes_[static_cast<std::size_t>(id)]; }
  Node& node(NodeId id) { return nodes_[static_cast<std::size_t>(id)]; }
  /// The nodes in an order of execution.
  std::span<const NodeId> order() const { return order_; }
  std::vector<NodeId> nodes_of(Op op) const;
  /// The output of node `id`; the common case of one.
  ValueId result(NodeId id) const { return node(id).output(); }

  /// Removes nodes and constants that no output depends on. True if there were some.
  bool erase_dead();
  /// Sorts the nodes so that values are made before they are used.
  /// Errors: invalid_input, naming a node on a cycle.
  Result<void> sort();

  // --- the interface
  std::span<const ValueId> inputs() const { return inputs_; }
  std::span<const ValueId> outputs() const { return outputs_; }
  void set_inputs(std::vector<ValueId> inputs) { inputs_ = std::move(inputs); }
  void set_outputs(std::vector<ValueId> outputs) { outputs_ = std::move(outputs); }

  /// Constants that are still used, in the order of their ids.
  std::vector<ValueId> constants() const;

  /// Facts about the origin: "producer", "opset", ...
  std::map<std::string, std::string>& metadata() { return metadata_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  Value& value_at(ValueId id) { return values_[static_cast<std::size_t>(id)]; }
  ValueId add_value(std::string name, Type type);
  NodeId make_node(NodeSpec spec);
  void remove_user(ValueId value, NodeId user);

  std::vector<Value> values_;
  std::map<std::string, ValueId, std::less<>> names_;
  std::vector<Node> nodes_;  // erased ones stay as holes, so that ids keep their meaning
  std::vector<NodeId> order_;
  std::vector<ValueId> inputs_;
  std::vector<ValueId> outputs_;
  std::map<std::string, std::string> metadata_;
};

/// Parameters (elements of the constants in use) and their bytes.
struct Footprint {
  Index parameters = 0;
  Index bytes = 0;
};
Footprint footprint(const Graph& graph);

/// Checks what every pass relies on: values made once and before use, operators with as many inputs
/// as they take, known outputs; at the transformer level also types, attributes and dimensions.
///
/// Errors: internal, naming the node (a graph that a user gave never reaches this broken).
Result<void> verify(const Graph& graph);

/// True if every node is of the transformer level.
bool is_raised(const Graph& graph);

}  // namespace rtai::ir
