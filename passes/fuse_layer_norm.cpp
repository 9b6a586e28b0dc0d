// Finds layer normalization in the arithmetic that older exporters write for it.
//
//   before: mean, x - mean, its square, the mean of that, + epsilon, sqrt, division, * w, + b
//   after:  layer_normalization(x, w, b)
//
// Nothing is matched as a tree of nodes. Each value gets a state, what it is of some x, and each
// operator leads from states to a state: a second subtraction, operands in another order, or
// x * (w / std) + (b - mean * w / std) as TensorFlow writes it end in the same one.
// Ba et al. 2016, arXiv:1607.06450.
#include "passes/passes.h"

#include <algorithm>
#include <map>
#include <optional>

namespace rtai::passes {
namespace {

using ir::Op;
using ir::ValueId;

constexpr PassInfo kInfo = {
    .name = "fuse-layer-norm",
    .summary = "finds layer normalization in the arithmetic written for it",
    .source = "Ba et al. 2016, arXiv:1607.06450",
    .exactness = Exactness::exact,
};

/// What a value is of x, over its last axis.
enum class Kind : std::uint8_t {
  mean,
  centered,        // x - mean
  squared,         // (x - mean)^2
  variance,        // its mean
  guarded,         // variance + epsilon
  deviation,       // sqrt(variance + epsilon)
  inverse,         // 1 / deviation
  gain,            // weight / deviation
  normalized,      // (x - mean) / deviation * weight + bias, either may be absent
  scaled_input,    // x * gain
  scaled_mean,     // mean * gain
  shifted_offset,  // bias - mean * gain
};

struct State {
  Kind kind;
  ValueId x;
  float epsilon = 0;
  std::optional<ValueId> weight = {};
  std::optional<ValueId> bias = {};
};

class Finder {
 public:
  explicit Finder(const ir::Graph& graph) : graph_(graph) {}

  /// The state of the result of `node`, which is noted, too.
  std::optional<State> read(const ir::Node& node) {
    const std::optional<State> state = state_after(node);
    if (state) states_[node.output()] = *state;
    return state;
  }

 private:
  std::optional<State> find(ValueId id, Kind kind) const {
    const auto found = states_.find(id);
    if (found == states_.end() || found->second.kind != kind) return std::nullopt;
    return found->second;
  }

  std::optional<double> number(ValueId id) const {
    const ir::Tensor* tensor = graph_.constant(id);
    return tensor != nullptr && tensor->elements() == 1 ? std::optional(tensor->value(0))
                                                        : std::nullopt;
  }

  /// A constant for each column of x: [n], [1, n], ...
  bool is_vector(ValueId id, ValueId x) const {
    const ir::Tensor* tensor = graph_.constant(id);
    const ir::Type& type = graph_.type(x);
    return tensor != nullptr && tensor->rank() >= 1 && tensor->dtype() == DType::f32 &&
           tensor->elements() == tensor->dim(-1) && type.dims && !type.dims->empty() &&
           tensor->rank() <= std::ssize(*type.dims) && type.dims->back() == tensor->dim(-1);
  }

  bool is_over_last_axis(const ir::Node& node) const {
    const ir::Tensor* axes = graph_.constant(node.input(1));
    const ir::Type& type = graph_.type(node.input(0));
    if (axes == nullptr || axes->elements() != 1 || node.attributes().integer("keepdims", 1) == 0)
      return false;
    const Index axis = axes->to_indices()[0];
    return axis == -1 || (type.dims && axis == std::ssize(*type.dims) - 1);
  }

  std::optional<State> state_after(const ir::Node& node) const {
    const ValueId a = node.input(0);
    const ValueId b = node.input(1);
    switch (node.op()) {
      case Op::reduce_mean:
        return after_mean(node);
      case Op::sub:
        return after_sub(a, b);
      case Op::mul:
        if (auto state = after_mul(a, b)) return state;
        return after_mul(b, a);
      case Op::add:
        if (auto state = after_add(a, b)) return state;
        return after_add(b, a);
      case Op::div:
        return after_div(a, b);
      case Op::pow:
        return after_pow(a, b);
      case Op::sqrt:
        return become(find(a, Kind::guarded), Kind::deviation);
      case Op::reciprocal:
        return become(find(a, Kind::deviation), Kind::inverse);
      default:
        return std::nullopt;
    }
  }

  static std::optional<State> become(std::optional<State> state, Kind kind) {
    if (state) state->kind = kind;
    return state;
  }

  std::optional<State> after_mean(const ir::Node& node) const {
    if (!is_over_last_axis(node)) return std::nullopt;
    if (auto squared = find(node.input(0), Kind::squared)) {
      return become(squared, Kind::variance);
    }
    return State{.kind = Kind::mean, .x = node.input(0)};
  }

  std::optional<State> after_sub(ValueId a, ValueId b) const {
    if (const auto mean = find(b, Kind::mean); mean && mean->x == a) {
      return State{.kind = Kind::centered, .x = a};
    }
    if (auto offset = find(b, Kind::scaled_mean); offset && is_vector(a, offset->x)) {
      offset->kind = Kind::shifted_offset;
      offset->bias = a;
      return offset;
    }
    return std::nullopt;
  }

  /// a * b in this order; the caller tries the other one.
  std::optional<State> after_mul(ValueId a, ValueId b) const {
    const auto centered = find(a, Kind::centered);
    if (centered && a == b) return become(centered, Kind::squared);
    if (const auto other = find(b, Kind::centered); centered && other && other->x == centered->x) {
      return become(centered, Kind::squared);
    }
    if (const auto inverse = find(b, Kind::inverse); inverse) {
      if (centered && centered->x == inverse->x) return become(inverse, Kind::normalized);
      return with_weight(*inverse, a, Kind::gain);
    }
    if (const auto gain = find(b, Kind::gain); gain) {
      if (centered && centered->x == gain->x) return become(gain, Kind::normalized);
      if (a == gain->x) return become(gain, Kind::scaled_input);
      if (const auto mean = find(a, Kind::mean); mean && mean->x == gain->x) {
        return become(gain, Kind::scaled_mean);
      }
    }
    const auto normalized = find(a, Kind::normalized);
    if (normalized && !normalized->weight && !normalized->bias) {
      return with_weight(*normalized, b, Kind::normalized);
    }
    return std::nullopt;
  }

  std::optional<State> with_weight(State state, ValueId weight, Kind kind) const {
    if (!is_vector(weight, state.x)) return std::nullopt;
    state.weight = weight;
    state.kind = kind;
    return state;
  }

  std::optional<State> after_add(ValueId a, ValueId b) const {
    if (auto variance = find(a, Kind::variance)) {
      const std::optional<double> epsilon = number(b);
      if (!epsilon) return std::nullopt;
      variance->epsilon = static_cast<float>(*epsilon);
      return become(variance, Kind::guarded);
    }
    if (auto normalized = find(a, Kind::normalized); normalized && !normalized->bias) {
      if (!is_vector(b, normalized->x)) return std::nullopt;
      normalized->bias = b;
      return normalized;
    }
    if (const auto input = find(a, Kind::scaled_input)) {
      const auto offset = find(b, Kind::shifted_offset);
      const bool same = offset && offset->x == input->x && offset->weight == input->weight &&
                        offset->epsilon == input->epsilon;
      return same ? become(offset, Kind::normalized) : std::nullopt;
    }
    return std::nullopt;
  }

  std::optional<State> after_div(ValueId a, ValueId b) const {
    const auto deviation = find(b, Kind::deviation);
    if (!deviation) return std::nullopt;
    if (const auto centered = find(a, Kind::centered); centered && centered->x == deviation->x) {
      return become(deviation, Kind::normalized);
    }
    if (number(a) == 1.0) return become(deviation, Kind::inverse);
    return with_weight(*deviation, a, Kind::gain);
  }

  std::optional<State> after_pow(ValueId a, ValueId b) const {
    const std::optional<double> exponent = number(b);
    if (exponent == 2.0) return become(find(a, Kind::centered), Kind::squared);
    if (exponent == 0.5) return become(find(a, Kind::guarded), Kind::deviation);
    if (exponent == -0.5) return become(find(a, Kind::guarded), Kind::inverse);
    return std::nullopt;
  }

  const ir::Graph& graph_;
  std::map<ValueId, State> states_;
};

class FuseLayerNorm final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    Finder finder(graph);
    std::vector<std::pair<ir::NodeId, State>> found;
    for (const ir::NodeId id : graph.order()) {
      const auto state = finder.read(graph.node(id));
      if (state && state->kind == Kind::normalized && can_build(graph, *state)) {
        found.emplace_back(id, *state);
      }
    }
    // A norm without weight or bias that goes on to one with them is left without users.
    std::map<ValueId, ValueId> replaced;  // the x of one may be the result of another
    for (auto& [id, state] : found) {
      if (const auto x = replaced.find(state.x); x != replaced.end()) state.x = x->second;
      const ValueId before = graph.result(id);
      replaced[before] = replace(graph, id, state);
    }
    if (!found.empty()) graph.erase_dead();
    Counter fused{.name = "normalizations",
                  .value = static_cast<double>(graph.nodes_of(Op::layer_normalization).size())};
    return PassReport{.changed = !found.empty(), .counters = {fused}};
  }

 private:
  static bool can_build(const ir::Graph& graph, const State& state) {
    const ir::Type& type = graph.type(state.x);
    return state.weight || (type.dims && !type.dims->empty() && type.dims->back().is_fixed());
  }

  /// The new result.
  static ValueId replace(ir::Graph& graph, ir::NodeId id, const State& state) {
    const ir::Type type = graph.type(graph.result(id));
    const ValueId weight = state.weight ? flat(graph, *state.weight) : ones(graph, state.x);
    std::vector<ValueId> inputs = {state.x, weight};
    if (state.bias) inputs.push_back(flat(graph, *state.bias));
    const ir::NodeId fused = graph.insert_before(
        id, {.op = Op::layer_normalization,
             .inputs = std::move(inputs),
             .outputs = {type},
             .attributes = {{"axis", std::int64_t{-1}}, {"epsilon", state.epsilon}},
             .name = graph.node(id).name()});
    const std::string name = graph.name(graph.result(id));
    graph.replace_uses(graph.result(id), graph.result(fused));
    graph.erase(id);
    graph.rename(graph.result(fused), name);
    return graph.result(fused);
  }

  /// The vector as [n].
  static ValueId flat(ir::Graph& graph, ValueId vector) {
    const ir::Tensor& tensor = *graph.constant(vector);
    if (tensor.rank() == 1) return vector;
    return graph.add_constant(graph.name(vector), tensor.reshaped({tensor.elements()}));
  }

  static ValueId ones(ir::Graph& graph, ValueId x) {
    const Index n = graph.type(x).dims->back().size;
    return graph.add_constant(
        "ones",
        ir::Tensor::from<float>({n}, std::vector<float>(static_cast<std::size_t>(n), 1.0f)));
  }
};

}  // namespace

std::unique_ptr<Pass> make_fuse_layer_norm() {
  return std::make_unique<FuseLayerNorm>();
}

}  // namespace rtai::passes
