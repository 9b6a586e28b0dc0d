#include "libopt/ir/encoder.h"

#include "libopt/ir/ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace rtai::ir {
namespace {

/// The only user of the result of `id`, if it is of kind `op`.
std::optional<NodeId> only_user(const Graph& graph, NodeId id, Op op) {
  const ValueId result = graph.result(id);
  const auto users = graph.users(result);
  const bool is_output =
      std::find(graph.outputs().begin(), graph.outputs().end(), result) != graph.outputs().end();
  if (users.size() != 1 || is_output || graph.node(users[0]).op() != op) return std::nullopt;
  return users[0];
}

std::optional<NodeId> producer_of(const Graph& graph, ValueId value, Op op) {
  if (value == kNoValue || !graph.value(value).producer) return std::nullopt;
  const NodeId id = *graph.value(value).producer;
  return graph.node(id).op() == op ? std::optional(id) : std::nullopt;
}

std::optional<AttentionModule> attention_module(const Graph& graph, NodeId attention) {
  const auto qkv = producer_of(graph, graph.node(attention).input(0), Op::linear);
  const auto out = only_user(graph, attention, Op::linear);
  if (!qkv || !out || graph.users(graph.result(*qkv)).size() != 1) return std::nullopt;
  return AttentionModule{*qkv, attention, *out};
}

/// An FFN ends in a residual addition; the chain of a classification head does not.
std::optional<FfnModule> ffn_module(const Graph& graph, NodeId in) {
  const auto activation = only_user(graph, in, Op::activation);
  if (!activation) return std::nullopt;
  const auto out = only_user(graph, *activation, Op::linear);
  if (!out || !only_user(graph, *out, Op::add)) return std::nullopt;
  return FfnModule{in, *activation, *out};
}

class Namer {
 public:
  explicit Namer(Graph& graph) : graph_(graph) {}

  bool run() {
    const std::vector<EncoderLayer> layers = find_layers(graph_);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const std::string prefix = fmt::format("layer.{}", i);
      if (layers[i].attention) {
        name_node(layers[i].attention->qkv, prefix + ".qkv");
        name_node(layers[i].attention->attention, prefix + ".attention");
        name_node(layers[i].attention->out, prefix + ".attention_out");
        name_norm_after(layers[i].attention->out, prefix + ".attention_norm");
      }
      if (layers[i].ffn) {
        name_node(layers[i].ffn->in, prefix + ".ffn_in");
        name_node(layers[i].ffn->activation, prefix + ".ffn_activation");
        name_node(layers[i].ffn->out, prefix + ".ffn_out");
        name_norm_after(layers[i].ffn->out, prefix + ".ffn_norm");
      }
    }
    int heads = 0;
    int norms = 0;
    for (const NodeId id : graph_.order()) {
      if (named_.contains(id)) continue;
      switch (graph_.node(id).op()) {
        case Op::embedding:
          name_node(id, "embedding");
          break;
        case Op::linear:
          name_node(id, fmt::format("head.{}", heads++));
          break;
        case Op::layer_norm:
          name_node(id, norms++ == 0 ? "embedding_norm" : fmt::format("norm.{}", norms - 1));
          break;
        default:
          break;
      }
    }
    return changed_;
  }

 private:
  void name_norm_after(NodeId linear, const std::string& name) {
    const auto add = only_user(graph_, linear, Op::add);
    if (!add) return;
    for (const NodeId user : graph_.users(graph_.result(*add))) {
      if (graph_.node(user).op() == Op::layer_norm) return name_node(user, name);
    }
  }

  void name_node(NodeId id, const std::string& name) {
    named_.insert(id);
    Node& node = graph_.node(id);
    if (node.name() != name) {
      graph_.rename_node(id, name);
      changed_ = true;
    }
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      const ValueId input = node.input(i);
      // A shared constant keeps the name of its first use.
      if (!graph_.is_constant(input) || !named_values_.insert(input).second) continue;
      const std::string full = name + "." + std::string(input_name(node.op(), i));
      if (graph_.name(input) == full) continue;
      graph_.rename(input, full);
      changed_ = true;
    }
  }

  static std::string_view input_name(Op op, std::size_t i) {
    constexpr std::array<std::string_view, 8> kEmbedding = {
        "ids",     "segments",   "word",           "position",
        "segment", "word_scale", "position_scale", "segment_scale"};
    constexpr std::array<std::string_view, 4> kAttention = {"qkv", "bias", "relative_key",
                                                            "relative_query"};
    constexpr std::array<std::string_view, 4> kLinear = {"src", "weight", "bias", "weight_scale"};
    if (op == Op::embedding) return kEmbedding[i];
    if (op == Op::attention) return kAttention[i];
    return kLinear[i];  // layer_norm: src, weight, bias
  }

  Graph& graph_;
  std::set<NodeId> named_;
  std::set<ValueId> named_values_;
  bool changed_ = false;
};

}  // namespace

std::vector<EncoderLayer> find_layers(const Graph& graph) {
  std::vector<EncoderLayer> layers;
  for (const NodeId id : graph.order()) {
    if (graph.node(id).op() == Op::attention) {
      if (auto module = attention_module(graph, id))
        layers.push_back({.attention = module, .ffn = {}});
    } else if (graph.node(id).op() == Op::linear) {
      const auto module = ffn_module(graph, id);
      if (!module) continue;
      if (layers.empty() || layers.back().ffn) layers.emplace_back();
      layers.back().ffn = module;
    }
  }
  return layers;
}

bool name_by_place(Graph& graph) {
  return Namer(graph).run();
}

}  // namespace rtai::ir
