// Makes every 16-bit and 64-bit float an f32.
//
//   before: %h = cast(%x) {to = "f16"}  %y = matmul(%h, @w f16)  %z = cast(%y) {to = "f32"}
//   after:  %y = matmul(%x, @w f32)
//
// What a model stores in 16 bits stays what it is; what it would have rounded on the way no longer
// is. Doubles appear in shape arithmetic and in numbers that were f32 before.
#include "passes/passes.h"

namespace rtai::passes {
namespace {

using ir::Op;
using ir::ValueId;

constexpr PassInfo kInfo = {
    .name = "widen-floats",
    .summary = "makes every 16-bit and 64-bit float an f32",
    .source = "-",
    .exactness = Exactness::exact,
};

bool is_other_float(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

/// True if something was widened.
bool widen_type(ir::Graph& graph, ValueId id) {
  if (id == ir::kNoValue || !is_other_float(graph.type(id).dtype)) return false;
  if (const ir::Tensor* tensor = graph.constant(id)) {
    graph.set_constant(id, tensor->converted(DType::f32));
  } else {
    ir::Type type = graph.type(id);
    type.dtype = DType::f32;
    graph.set_type(id, std::move(type));
  }
  return true;
}

/// The element type that a cast names, and tensors among the attributes.
bool widen_attributes(ir::Node& node) {
  bool changed = false;
  const ir::Attributes before = node.attributes();
  for (const auto& [name, attribute] : before) {
    if (const auto* tensor = std::get_if<ir::Tensor>(&attribute)) {
      if (!is_other_float(tensor->dtype())) continue;
      node.attributes().set(name, tensor->converted(DType::f32));
      changed = true;
    }
  }
  const auto to = dtype_from_name(before.text("to", ""));
  if (node.op() == Op::cast && to && is_other_float(*to)) {
    node.attributes().set("to", std::string(dtype_name(DType::f32)));
    changed = true;
  }
  return changed;
}

class WidenFloats final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    Counter widened{.name = "values widened"};
    bool changed = false;
    for (std::size_t i = 0; i < graph.value_count(); ++i) {
      if (!widen_type(graph, static_cast<ValueId>(i))) continue;
      changed = true;
      ++widened.value;
    }
    for (const ir::NodeId id : graph.order())
      changed = widen_attributes(graph.node(id)) || changed;
    return PassReport{.changed = changed, .counters = {widened}};
  }
};

}  // namespace

std::unique_ptr<Pass> make_widen_floats() {
  return std::make_unique<WidenFloats>();
}

}  // namespace rtai::passes
