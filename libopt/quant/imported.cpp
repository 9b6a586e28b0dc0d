#include "libopt/quant/imported.h"

#include "libopt/ir/ops.h"
#include "libopt/quant/grid.h"
#include "libopt/reference/interpret.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

namespace rtai::quant {
namespace {

using ir::kNoValue;
using ir::Node;
using ir::NodeId;
using ir::Op;
using ir::Tensor;
using ir::ValueId;
using Kind = SourceForm::Kind;

/// Operators that give the elements of their first input as they are.
bool only_moves(Op op) {
  switch (op) {
    case Op::identity:
    case Op::reshape:
    case Op::flatten:
    case Op::squeeze:
    case Op::unsqueeze:
    case Op::expand:
    case Op::transpose:
    case Op::split:
    case Op::slice:
    case Op::gather:
      return true;
    default:
      return false;
  }
}

class Taker {
 public:
  explicit Taker(ir::Graph& graph) : graph_(graph) {}

  Result<TakenIntegers> run() {
    find_products();
    const auto each = [&](Op op, auto&& change) -> Result<void> {
      for (const NodeId id : graph_.nodes_of(op))
        RTAI_TRY_VOID(change(id).in(fmt::format("node '{}'", graph_.node(id).name())));
      return {};
    };
    for (const NodeId id : graph_.nodes_of(Op::matmul))
      take_steps(id);
    RTAI_TRY_VOID(each(Op::dequantize_linear, [&](NodeId id) { return drop_dequantize(id); }));
    RTAI_TRY_VOID(each(Op::quantize_linear, [&](NodeId id) { return drop_quantize(id); }));
    RTAI_TRY_VOID(each(Op::matmul_integer, [&](NodeId id) { return take_product(id); }));
    RTAI_TRY_VOID(
        each(Op::dynamic_quantize_linear, [&](NodeId id) { return drop_dynamic_quantize(id); }));
    const std::vector<NodeId> order(graph_.order().begin(), graph_.order().end());
    for (const NodeId id : order)
      RTAI_TRY_VOID(finish(id).in(fmt::format("node '{}'", graph_.node(id).name())));
    graph_.erase_dead();
    for (const auto& [node, form] : forms_)
      note(node, form);
    return std::move(taken_);
  }

 private:
  // --- where values come from

  /// Back through operators that only move elements.
  ValueId origin(ValueId value) const {
    for (const Node* node = graph_.producer(value); node != nullptr && only_moves(node->op());
         node = graph_.producer(value)) {
      value = node->input(0);
    }
    return value;
  }

  const Node* producer_of(ValueId value, Op op) const {
    const Node* node = graph_.producer(value);
    return node != nullptr && node->op() == op ? node : nullptr;
  }

  bool is_zero(ValueId value) const {
    if (value == kNoValue) return true;
    const Tensor* tensor = graph_.constant(value);
    if (tensor == nullptr) return false;
    for (Index i = 0; i < tensor->elements(); ++i)
      if (tensor->value(i) != 0) return false;
    return true;
  }

  bool same_constant(ValueId a, ValueId b) const {
    if (a == b) return true;
    const Tensor* x = graph_.constant(a);
    const Tensor* y = graph_.constant(b);
    return x != nullptr && y != nullptr && x->elements() == y->elements() &&
           *x == y->reshaped(x->dims());
  }

  /// Of a matmul or gemm that reads `value`; nothing if the value is not quantized.
  std::optional<SourceForm> form_of(ValueId value) const {
    const Node* dequantize = producer_of(origin(value), Op::dequantize_linear);
    if (dequantize == nullptr) return std::nullopt;
    const Node* quantize = producer_of(origin(dequantize->input(0)), Op::quantize_linear);
    if (quantize == nullptr) return std::nullopt;
    const Tensor* scale = graph_.constant(quantize->input(1));
    const Tensor* zero = graph_.constant(quantize->input(2));
    const DType dtype = zero != nullptr ? zero->dtype() : DType::u8;
    if (dtype != DType::i8 && dtype != DType::u8) return SourceForm{};
    if (dtype == DType::i8 && is_zero(quantize->input(2)) && scale != nullptr &&
        scale->elements() == 1) {
      return SourceForm{.kind = Kind::fixed, .scale = static_cast<float>(scale->value(0))};
    }
    return SourceForm{.kind = Kind::skewed};
  }

  void find_products() {
    for (const NodeId id : graph_.order()) {
      const Node& node = graph_.node(id);
      if (node.op() != Op::matmul && node.op() != Op::gemm) continue;
      const auto form = form_of(node.input(0));
      if (!form) continue;
      const auto other = form_of(node.input(1));
      if (graph_.is_constant(origin(node.input(1))))
        forms_.emplace(id, *form);
      else if (form->kind != Kind::real && other && other->kind != Kind::real)
        ++taken_.attention_products;
    }
  }

  // --- quantize, dequantize

  Result<void> drop_dequantize(NodeId id) {
    const Node& node = graph_.node(id);
    const ValueId from = origin(node.input(0));
    if (const Node* quantize = producer_of(from, Op::quantize_linear)) {
      const bool same = same_constant(node.input(1), quantize->input(1)) &&
                        (same_constant(node.input(2), quantize->input(2)) ||
                         (is_zero(node.input(2)) && is_zero(quantize->input(2))));
      if (!same) return unsupported("integers that mean something else than where they were made");
    } else if (graph_.is_constant(from)) {
      RTAI_TRY_VOID(take_table(node));
    } else {
      return unsupported("integers that are not quantized numbers");
    }
    graph_.replace_uses(node.output(), node.input(0));
    return {};
  }

  /// dequantize(gather(table, ids)): gather(dequantize(table), ids)
  Result<void> take_table(const Node& dequantize) {
    const Node* moved = graph_.producer(dequantize.input(0));
    while (moved != nullptr && !graph_.is_constant(moved->input(0)))
      moved = graph_.producer(moved->input(0));
    const Tensor* scale = graph_.constant(dequantize.input(1));
    if (moved == nullptr || moved->op() != Op::gather || scale == nullptr ||
        scale->elements() != 1) {
      return unsupported("a table of integers with several scales");
    }
    const Tensor* zero = graph_.constant(dequantize.input(2));
    RTAI_TRY(const auto real,
             reference::evaluate(dequantize, std::vector<const Tensor*>{
                                                 graph_.constant(moved->input(0)), scale, zero}));
    const ValueId table = graph_.add_constant(graph_.name(moved->input(0)) + ".real", real[0]);
    const ValueId result = moved->output();
    for (const NodeId id : graph_.nodes_of(Op::gather))
      if (graph_.node(id).output() == result) graph_.set_input(id, 0, table);
    ++taken_.tables;
    return {};
  }

  Result<void> drop_quantize(NodeId id) {
    graph_.replace_uses(graph_.node(id).output(), graph_.node(id).input(0));
    return {};
  }

  Result<void> drop_dynamic_quantize(NodeId id) {
    const Node& node = graph_.node(id);
    graph_.replace_uses(node.output(0), node.input(0));
    // The numbers are multiplied as they are.
    if (node.output(1) != kNoValue)
      graph_.replace_uses(node.output(1), graph_.add_constant("one", Tensor::scalar(1.0f)));
    return {};
  }

  // --- products of whole numbers

  /// clip(round(div(src, scale))): the scale is computed beside it.
  struct Rounded {
    ValueId src;
    ValueId scale;
  };
  std::optional<Rounded> steps(ValueId value) const {
    const Node* clip = producer_of(value, Op::clip);
    const Node* round = clip == nullptr ? nullptr : producer_of(clip->input(0), Op::round);
    const Node* div = round == nullptr ? nullptr : producer_of(round->input(0), Op::div);
    if (div == nullptr) return std::nullopt;
    return Rounded{div->input(0), div->input(1)};
  }

  /// The same as integers.
  std::optional<Rounded> rounded(ValueId value) const {
    const Node* cast = producer_of(value, Op::cast);
    if (cast == nullptr) return std::nullopt;
    return steps(cast->input(0));
  }

  /// mul(steps(src, scale), scale): src, but for what rounding lost.
  std::optional<Rounded> steps_and_back(ValueId value) const {
    const Node* mul = producer_of(value, Op::mul);
    if (mul == nullptr) return std::nullopt;
    for (const std::size_t at : {0, 1}) {
      const auto found = steps(mul->input(at));
      if (found && found->scale == mul->input(1 - at)) return found;
    }
    return std::nullopt;
  }

  /// Attention of whole numbers in floats, as rtai exports it: queries with keys, and weights,
  /// which hold the values' scales, with values.
  void take_steps(NodeId id) {
    const auto left = steps_and_back(graph_.node(id).input(0));
    if (!left) return;
    ValueId src = left->src;
    auto right = steps_and_back(graph_.node(id).input(1));
    if (!right) {
      right = steps(graph_.node(id).input(1));
      const Node* shares = producer_of(left->src, Op::mul);
      if (!right || shares == nullptr || origin(shares->input(1)) != right->scale) return;
      src = shares->input(0);
    }
    graph_.set_input(id, 0, src);
    graph_.set_input(id, 1, right->src);
    ++taken_.attention_products;
  }

  /// Real numbers instead of the integers of one operand; nothing if they are not quantized ones.
  struct Source {
    ValueId real;
    Kind kind;
  };
  std::optional<Source> source_of(ValueId integers, ValueId zero) {
    const Node* dynamic = producer_of(origin(integers), Op::dynamic_quantize_linear);
    if (dynamic != nullptr && zero == dynamic->output(2)) return Source{integers, Kind::batch};
    const auto row = rounded(integers);
    if (!row || !is_zero(zero)) return std::nullopt;
    graph_.replace_uses(row->scale, graph_.add_constant("one", Tensor::scalar(1.0f)));
    return Source{row->src, Kind::row};
  }

  /// Integers minus their zero point, which may be one for each column.
  Result<Tensor> centered(ValueId integers, ValueId zero) const {
    Tensor real = graph_.constant(integers)->converted(DType::f32);
    if (zero == kNoValue) return real;
    const Tensor* point = graph_.constant(zero);
    if (point == nullptr) return unsupported("weights with a zero point that is computed");
    const Index n = real.dim(-1);
    if (point->elements() != 1 && point->elements() != n)
      return unsupported("weights with a zero point for each row");
    const std::span<float> values = real.mutable_data<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Index column = static_cast<Index>(i) % n;
      values[i] -= static_cast<float>(point->value(point->elements() == 1 ? 0 : column));
    }
    return real;
  }

  Result<void> take_product(NodeId id) {
    const Node node = graph_.node(id);
    const auto src = source_of(node.input(0), node.input(2));
    if (!src) return unsupported("a product of integers that are not quantized numbers");
    ValueId right = kNoValue;
    SourceForm form{.kind = src->kind};
    const bool has_weights = graph_.is_constant(node.input(1));
    if (has_weights) {
      RTAI_TRY(Tensor weight, centered(node.input(1), node.input(3)));
      right = graph_.add_constant(graph_.name(node.input(1)) + ".real", std::move(weight));
    } else {
      const auto other = source_of(node.input(1), node.input(3));
      if (!other) return unsupported("a product of integers that are not quantized numbers");
      right = other->real;
      ++taken_.attention_products;
    }
    const ir::Type type{DType::f32, graph_.type(node.output()).dims};
    const NodeId product = graph_.insert_before(
        id,
        {.op = Op::matmul, .inputs = {src->real, right}, .outputs = {type}, .name = node.name()});
    graph_.replace_uses(node.output(), graph_.result(product));
    graph_.erase(id);
    if (has_weights) forms_.emplace(product, form);
    return {};
  }

  // --- what is left of scales

  Result<void> finish(NodeId id) {
    const Node& node = graph_.node(id);
    if (node.outputs().empty()) return {};
    if (node.op() == Op::mul) {
      RTAI_TRY_VOID(finish_mul(id));
    } else if (node.op() == Op::cast && node.attributes().text("to", "") == "f32" &&
               forms_.contains(product_node(node.input(0)))) {
      graph_.replace_uses(node.output(), node.input(0));
      graph_.erase(id);
    }
    return {};
  }

  NodeId product_node(ValueId value) const {
    constexpr NodeId kNone{0xffffffffu};
    const auto producer = graph_.value(value).producer;
    return producer && graph_.node(*producer).op() == Op::matmul ? *producer : kNone;
  }

  Result<void> finish_mul(NodeId id) {
    const Node& node = graph_.node(id);
    const Tensor* a = graph_.constant(node.input(0));
    const Tensor* b = graph_.constant(node.input(1));
    if (a != nullptr && b != nullptr) {  // the scales of source and weight
      RTAI_TRY(const auto result, reference::evaluate(node, std::vector<const Tensor*>{a, b}));
      graph_.replace_uses(node.output(), graph_.add_constant("scale", result[0]));
      return {};
    }
    if (a == nullptr && b == nullptr) return take_scaled_rows(id);
    const ValueId value = node.input(a == nullptr ? 0 : 1);
    const Tensor& factor = a == nullptr ? *b : *a;
    const NodeId product = product_node(value);
    if (!forms_.contains(product) || graph_.users(value).size() != 1) return {};
    const ValueId weight = graph_.node(product).input(1);
    const Index n = graph_.constant(weight)->dim(-1);
    const bool by_column = factor.elements() == n && factor.dim(-1) == n;
    if (factor.elements() != 1 && !by_column) return {};
    Tensor scaled = *graph_.constant(weight);
    const std::span<float> values = scaled.mutable_data<float>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Index column = by_column ? static_cast<Index>(i) % n : 0;
      values[i] *= static_cast<float>(factor.value(column));
    }
    graph_.set_constant(weight, std::move(scaled));
    graph_.replace_uses(node.output(), value);
    graph_.erase(id);
    return {};
  }

  /// cast(gather(table, ids)) * unsqueeze(gather(scales, ids)): gather(table * scales, ids)
  Result<void> take_scaled_rows(NodeId id) {
    const Node node = graph_.node(id);
    for (const std::size_t first : {0, 1}) {
      const Node* cast = producer_of(node.input(first), Op::cast);
      const Node* rows = cast == nullptr ? nullptr : producer_of(cast->input(0), Op::gather);
      const Node* wide = producer_of(node.input(1 - first), Op::unsqueeze);
      const Node* scale = wide == nullptr ? nullptr : producer_of(wide->input(0), Op::gather);
      if (rows == nullptr || scale == nullptr || rows->input(1) != scale->input(1)) continue;
      const Tensor* table = graph_.constant(rows->input(0));
      const Tensor* scales = graph_.constant(scale->input(0));
      if (table == nullptr || scales == nullptr || table->dtype() != DType::i8 ||
          table->rank() != 2 || scales->elements() != table->dim(0)) {
        continue;
      }
      Tensor real = table->converted(DType::f32);
      const std::span<float> values = real.mutable_data<float>();
      for (std::size_t i = 0; i < values.size(); ++i)
        values[i] *= static_cast<float>(scales->value(static_cast<Index>(i) / table->dim(1)));
      const ValueId constant =
          graph_.add_constant(graph_.name(rows->input(0)) + ".real", std::move(real));
      const NodeId gathered = graph_.insert_before(id, {.op = Op::gather,
                                                        .inputs = {constant, rows->input(1)},
                                                        .outputs = {graph_.type(node.output())},
                                                        .attributes = rows->attributes(),
                                                        .name = rows->name()});
      graph_.replace_uses(node.output(), graph_.result(gathered));
      ++taken_.tables;
      return {};
    }
    return {};
  }

  // --- what is remembered

  void note(NodeId id, SourceForm form) {
    take_factor(id, form);
    const Node& node = graph_.node(id);
    const Tensor* weight = graph_.constant(node.input(1));
    if (form.kind == Kind::real) return put_factor(node, form);
    if (weight == nullptr || weight->dtype() != DType::f32 || weight->rank() != 2) return;
    ++taken_.products;
    const bool turned = node.op() == Op::gemm && node.attributes().integer("transB", 0) != 0;
    const Index n = weight->dim(turned ? 0 : 1);
    const Index k = weight->dim(turned ? 1 : 0);
    const std::span<const float> values = weight->data<float>();
    std::vector<float> row(static_cast<std::size_t>(k));
    for (Index j = 0; j < n; ++j) {
      for (Index i = 0; i < k; ++i)
        row[static_cast<std::size_t>(i)] =
            values[static_cast<std::size_t>(turned ? j * k + i : i * n + j)];
      const auto grid = grid_of(row);
      if (!grid) continue;  // the layer will be found to hold real numbers
      const auto [found, is_new] = taken_.sources.try_emplace(grid->integers, form);
      if (!is_new && found->second != form) found->second = {.kind = Kind::skewed};
    }
  }

  /// A layer of real numbers has its factors in the weights.
  void put_factor(const Node& node, const SourceForm& form) {
    if (form.factor.empty()) return;
    Tensor weight = *graph_.constant(node.input(1));
    const auto n = static_cast<std::size_t>(weight.dim(1));
    const std::span<float> values = weight.mutable_data<float>();
    for (std::size_t i = 0; i < values.size(); ++i)
      values[i] *= form.factor[i / n];
    graph_.set_constant(node.input(1), std::move(weight));
  }

  /// src * factor, column by column, just before it is quantized: part of the layer.
  void take_factor(NodeId id, SourceForm& form) {
    const Node* mul = producer_of(graph_.node(id).input(0), Op::mul);
    const Tensor* weight = graph_.constant(graph_.node(id).input(1));
    if (mul == nullptr || weight == nullptr || graph_.node(id).op() != Op::matmul) return;
    for (const std::size_t at : {0, 1}) {
      const Tensor* factor = graph_.constant(mul->input(at));
      if (factor == nullptr || factor->dtype() != DType::f32 || factor->rank() < 1 ||
          factor->elements() != weight->dim(0) || factor->elements() != factor->dim(-1) ||
          factor->elements() < 2) {
        continue;
      }
      form.factor.assign(factor->data<float>().begin(), factor->data<float>().end());
      graph_.set_input(id, 0, mul->input(1 - at));
      return;
    }
  }

  ir::Graph& graph_;
  std::map<NodeId, SourceForm> forms_;  // of products with weights
  TakenIntegers taken_;
};

}  // namespace

bool has_integers(const ir::Graph& graph) {
  return std::ranges::any_of(graph.order(), [&](NodeId id) {
    const Op op = graph.node(id).op();
    return op == Op::quantize_linear || op == Op::dequantize_linear ||
           op == Op::dynamic_quantize_linear || op == Op::matmul_integer || op == Op::round;
  });
}

Result<TakenIntegers> take_out_integers(ir::Graph& graph) {
  return Taker(graph).run();
}

}  // namespace rtai::quant
