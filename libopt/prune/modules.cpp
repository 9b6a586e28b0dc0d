#include "libopt/prune/modules.h"

#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace rtai::prune {
namespace {

using ir::NodeId;
using ir::ValueId;

bool is_output(const ir::Graph& graph, ValueId value) {
  return std::find(graph.outputs().begin(), graph.outputs().end(), value) != graph.outputs().end();
}

bool has_float_weight(const ir::Graph& graph, NodeId linear) {
  const ir::Tensor* weight = graph.constant(graph.node(linear).input(ir::Linear::weight));
  return weight != nullptr && weight->dtype() == DType::f32;
}

/// The residual addition that is the only user of the `out` layer.
std::optional<NodeId> residual_addition(const ir::Graph& graph, NodeId out) {
  const ValueId result = graph.result(out);
  const auto users = graph.users(result);
  if (users.size() != 1 || graph.node(users[0]).op() != ir::Op::add) return std::nullopt;
  if (is_output(graph, result)) return std::nullopt;
  return users[0];
}

std::optional<Module> make_module(
    const ir::Graph& graph, ModuleKind kind, Index layer, NodeId in, NodeId middle, NodeId out) {
  const auto add = residual_addition(graph, out);
  if (!add || !has_float_weight(graph, in) || !has_float_weight(graph, out)) return std::nullopt;
  const ir::Node& addition = graph.node(*add);
  Module module{.kind = kind, .layer = layer, .in = in, .middle = middle, .out = out, .add = *add};
  module.source = graph.node(in).input(ir::Linear::src);
  module.units = graph.result(middle);
  module.residual = addition.input(addition.input(0) == graph.result(out) ? 1 : 0);
  module.sum = graph.result(*add);
  if (kind == ModuleKind::attention) {
    const ir::HeadShape shape = ir::head_shape(graph.node(middle));
    module.count = shape.heads;
    module.width = shape.head_dim;
  } else {
    module.count = layer_of(graph, in).weight.dim(0);
  }
  return module;
}

void set_columns(ir::Graph& graph, ValueId value, Index columns) {
  const ir::Dim rows = graph.type(value).dims->front();
  graph.set_type(value, {DType::f32, std::vector<ir::Dim>{rows, columns}});
}

/// Gives input `i` of a node new data; a constant that others use too keeps its own.
void replace_constant(ir::Graph& graph, NodeId id, std::size_t i, ir::Tensor tensor) {
  graph.resize_inputs(id, i + 1);
  const ValueId old = graph.node(id).input(i);
  if (old == ir::kNoValue) {
    graph.set_input(id, i, graph.add_constant(graph.node(id).name() + ".bias", std::move(tensor)));
  } else if (graph.users(old).size() == 1) {
    graph.set_constant(old, std::move(tensor));
  } else {
    graph.set_input(id, i, graph.add_constant(graph.name(old), std::move(tensor)));
  }
}

void add_to_vector(ir::Graph& graph, NodeId id, std::size_t i, std::span<const float> shift) {
  const ValueId old = graph.node(id).input(i);
  std::vector<float> sum(shift.begin(), shift.end());
  if (old != ir::kNoValue) {
    const auto values = graph.constant(old)->data<float>();
    std::transform(sum.begin(), sum.end(), values.begin(), sum.begin(), std::plus<>());
  }
  replace_constant(graph, id, i, ir::Tensor::from<float>({std::ssize(sum)}, sum));
}

/// Adds `shift` to every row of a table: each token reads exactly one of them.
void add_to_rows(ir::Graph& graph, NodeId id, std::size_t table, std::span<const float> shift) {
  ir::Tensor rows = *graph.constant(graph.node(id).input(table));
  const auto values = rows.mutable_data<float>();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] += shift[i % shift.size()];
  replace_constant(graph, id, table, std::move(rows));
}

/// The smallest float table of an embedding, which is added to every token.
std::size_t smallest_table(const ir::Graph& graph, NodeId embedding) {
  std::size_t smallest = ir::Embedding::word;
  for (const std::size_t table : {ir::Embedding::position, ir::Embedding::segment}) {
    const ir::Tensor* rows = graph.constant(graph.node(embedding).input(table));
    const ir::Tensor* best = graph.constant(graph.node(embedding).input(smallest));
    if (rows == nullptr || rows->dtype() != DType::f32) continue;
    if (best->dtype() != DType::f32 || rows->elements() < best->elements()) smallest = table;
  }
  return smallest;
}

/// True if `value` is made by something that a constant row can be added to, for all its users.
bool can_shift(const ir::Graph& graph, ValueId value) {
  const ir::Node* producer = graph.producer(value);
  if (producer == nullptr) return false;
  switch (producer->op()) {
    case ir::Op::layer_norm:
    case ir::Op::linear:
      return true;
    case ir::Op::embedding: {
      const std::size_t table = smallest_table(graph, *graph.value(value).producer);
      return graph.constant(producer->input(table))->dtype() == DType::f32;
    }
    case ir::Op::add:
      return std::any_of(producer->inputs().begin(), producer->inputs().end(), [&](ValueId side) {
        return graph.users(side).size() == 1 && !is_output(graph, side) && can_shift(graph, side);
      });
    default:
      return false;
  }
}

void shift_rows(ir::Graph& graph, ValueId value, std::span<const float> shift) {
  const NodeId id = *graph.value(value).producer;
  switch (graph.node(id).op()) {
    case ir::Op::layer_norm:
      return add_to_vector(graph, id, ir::LayerNorm::bias, shift);
    case ir::Op::linear:
      return add_to_vector(graph, id, ir::Linear::bias, shift);
    case ir::Op::embedding:
      return add_to_rows(graph, id, smallest_table(graph, id), shift);
    default:
      for (const ValueId side : graph.node(id).inputs()) {
        if (graph.users(side).size() == 1 && !is_output(graph, side) && can_shift(graph, side))
          return shift_rows(graph, side, shift);
      }
      RTAI_ASSERT(false, "can_shift() was asked first");
  }
}

bool is_token_rows(const ir::Type& type) {
  return type.dtype == DType::f32 && type.dims && type.dims->size() == 2 &&
         type.dims->front() != ir::Dim("sequences");
}

/// `graph` with the residual in the place of the sum, and what nothing uses any more gone.
ir::Graph bypass(const ir::Graph& graph, const Module& module) {
  ir::Graph bypassed = graph;
  bypassed.replace_uses(module.sum, module.residual);
  bypassed.erase_dead();
  return bypassed;
}

}  // namespace

std::string Module::name() const {
  return fmt::format("layer.{}.{}", layer, kind == ModuleKind::attention ? "attention" : "ffn");
}

Result<std::vector<Module>> find_modules(const ir::Graph& graph) {
  std::vector<Module> modules;
  const std::vector<ir::EncoderLayer> layers = ir::find_layers(graph);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto index = static_cast<Index>(i);
    if (const auto& a = layers[i].attention) {
      const auto module =
          make_module(graph, ModuleKind::attention, index, a->qkv, a->attention, a->out);
      if (module) modules.push_back(*module);
    }
    if (const auto& f = layers[i].ffn) {
      const auto module = make_module(graph, ModuleKind::ffn, index, f->in, f->activation, f->out);
      if (module) modules.push_back(*module);
    }
  }
  if (!modules.empty()) return modules;
  return Error{ErrorCode::unsupported,
               layers.empty() ? "the model has no attention or FFN modules to prune"
                              : "no module has float weights and a residual addition; prune before "
                                "quantizing"};
}

std::vector<Index> unit_columns(const Module& module, std::span<const Index> kept) {
  std::vector<Index> columns;
  for (const Index unit : kept) {
    for (Index i = 0; i < module.width; ++i)
      columns.push_back(unit * module.width + i);
  }
  return columns;
}

std::vector<Index> unit_rows(const Module& module, std::span<const Index> kept) {
  const std::vector<Index> columns = unit_columns(module, kept);
  if (module.kind == ModuleKind::ffn) return columns;
  std::vector<Index> rows;
  for (Index part = 0; part < 3; ++part) {
    for (const Index column : columns)
      rows.push_back(part * module.count * module.width + column);
  }
  return rows;
}

Layer layer_of(const ir::Graph& graph, NodeId linear) {
  const ir::Node& node = graph.node(linear);
  Layer layer{.weight = *graph.constant(node.input(ir::Linear::weight)), .bias = {}};
  if (const ir::Tensor* bias = graph.constant(node.input(ir::Linear::bias))) {
    const auto values = bias->data<float>();
    layer.bias.assign(values.begin(), values.end());
  } else {
    layer.bias.assign(static_cast<std::size_t>(layer.weight.dim(0)), 0.0f);
  }
  return layer;
}

void set_layer(ir::Graph& graph, NodeId linear, const Layer& layer) {
  replace_constant(graph, linear, ir::Linear::weight, layer.weight);
  replace_constant(graph, linear, ir::Linear::bias,
                   ir::Tensor::from<float>({std::ssize(layer.bias)}, layer.bias));
}

ir::Tensor pick_rows(const ir::Tensor& matrix, std::span<const Index> picked) {
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const auto values = matrix.data<float>();
  std::vector<float> rows;
  rows.reserve(picked.size() * columns);
  for (const Index row : picked) {
    const auto source = values.subspan(static_cast<std::size_t>(row) * columns, columns);
    rows.insert(rows.end(), source.begin(), source.end());
  }
  return ir::Tensor::from<float>({std::ssize(picked), matrix.dim(1)}, rows);
}

ir::Tensor pick_columns(const ir::Tensor& matrix, std::span<const Index> picked) {
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const auto values = matrix.data<float>();
  std::vector<float> kept;
  kept.reserve(static_cast<std::size_t>(matrix.dim(0)) * picked.size());
  for (std::size_t row = 0; row < static_cast<std::size_t>(matrix.dim(0)); ++row) {
    for (const Index column : picked)
      kept.push_back(values[row * columns + static_cast<std::size_t>(column)]);
  }
  return ir::Tensor::from<float>({matrix.dim(0), std::ssize(picked)}, kept);
}

std::vector<float> pick(std::span<const float> values, std::span<const Index> picked) {
  std::vector<float> kept;
  for (const Index i : picked)
    kept.push_back(values[static_cast<std::size_t>(i)]);
  return kept;
}

void keep_units(ir::Graph& graph, const Module& module, std::span<const Index> kept) {
  RTAI_ASSERT(std::is_sorted(kept.begin(), kept.end()), "units are kept in their order");
  const Index first[] = {0};
  const bool none = kept.empty();
  if (none) kept = first;
  const std::vector<Index> rows = unit_rows(module, kept);
  const std::vector<Index> columns = unit_columns(module, kept);
  Layer in = layer_of(graph, module.in);
  Layer out = layer_of(graph, module.out);
  in = {.weight = pick_rows(in.weight, rows), .bias = pick(in.bias, rows)};
  out.weight = pick_columns(out.weight, columns);
  if (none) std::ranges::fill(out.weight.mutable_data<float>(), 0.0f);
  set_layer(graph, module.in, in);
  set_layer(graph, module.out, out);
  set_columns(graph, graph.result(module.in), std::ssize(rows));
  set_columns(graph, module.units, std::ssize(columns));
  if (module.kind != ModuleKind::attention) return;
  using A = ir::Attention;
  for (const std::size_t i : {A::bias, A::relative_key, A::relative_query}) {
    const ir::Tensor* table = graph.constant(graph.node(module.middle).input(i));
    if (table == nullptr) continue;
    const auto of_heads = i == A::bias ? kept : std::span<const Index>(columns);
    replace_constant(graph, module.middle, i, pick_rows(*table, of_heads));
  }
  graph.node(module.middle).attributes().set("heads", std::int64_t{std::ssize(kept)});
}

bool can_drop(const ir::Graph& graph, const Module& module) {
  if (is_output(graph, module.residual) || is_output(graph, module.units)) return false;
  // Whoever still reads the residual besides the users of the sum would see the bias too.
  const std::size_t behind = graph.users(module.sum).size();
  const ir::Graph bypassed = bypass(graph, module);
  return bypassed.users(module.residual).size() == behind && can_shift(bypassed, module.residual);
}

void drop_module(ir::Graph& graph, const Module& module) {
  const std::vector<float> bias = layer_of(graph, module.out).bias;
  graph.replace_uses(module.sum, module.residual);
  graph.erase_dead();
  shift_rows(graph, module.residual, bias);
}

std::optional<ValueId> cut_before(const ir::Graph& graph, const Module& module) {
  const auto order = graph.order();
  const auto end = std::find(order.begin(), order.end(), module.in);
  for (auto place = end + 1; place-- != order.begin();) {
    // What is made in front of `place` and used from there on.
    std::vector<ValueId> open;
    const auto in_front = [&](NodeId id) { return std::find(order.begin(), place, id) != place; };
    const auto collect = [&](ValueId value) {
      if (value == ir::kNoValue || graph.is_constant(value)) return;
      const auto producer = graph.value(value).producer;
      if (producer && !in_front(*producer)) return;
      if (std::find(open.begin(), open.end(), value) == open.end()) open.push_back(value);
    };
    for (auto user = place; user != order.end(); ++user)
      std::ranges::for_each(graph.node(*user).inputs(), collect);
    std::ranges::for_each(graph.outputs(), collect);
    if (open.size() == 1 && is_token_rows(graph.type(open[0]))) return open[0];
  }
  return std::nullopt;
}

std::optional<ValueId> cut_before(const ir::Graph& graph,
                                  std::span<const Module> modules,
                                  std::size_t m) {
  if (m >= modules.size()) return std::nullopt;
  return cut_before(graph, modules[m]);
}

}  // namespace rtai::prune
