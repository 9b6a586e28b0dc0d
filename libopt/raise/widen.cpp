#include "libopt/raise/widen.h"

#include <memory>

namespace rtai::raise {
namespace {

using ir::ValueId;

bool is_other_float(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::f64;
}

ir::Tensor widened(const ir::Tensor& tensor) {
  if (tensor.dtype() == DType::f64) return tensor.converted(DType::f32);
  const std::span<const std::uint16_t> src = tensor.data<std::uint16_t>();
  ir::Tensor wide = ir::Tensor::from<float>(tensor.dims(), std::vector<float>(src.size()));
  const std::span<float> dst = wide.mutable_data<float>();
  const bool is_brain = tensor.dtype() == DType::bf16;
  for (std::size_t i = 0; i < src.size(); ++i)
    dst[i] = is_brain ? bf16_to_f32(src[i]) : f16_to_f32(src[i]);
  return wide;
}

bool widen_type(ir::Graph& graph, ValueId id) {
  if (!is_other_float(graph.type(id).dtype)) return false;
  if (const ir::Tensor* tensor = graph.constant(id)) {
    graph.set_constant(id, widened(*tensor));
    return true;
  }
  ir::Type type = graph.type(id);
  type.dtype = DType::f32;
  graph.set_type(id, std::move(type));
  return true;
}

/// The element type that a cast names, and tensors among the attributes.
Index widen_attributes(ir::Node& node) {
  Index changed = 0;
  const ir::Attributes before = node.attributes();
  for (const auto& [name, attribute] : before) {
    const auto* tensor = std::get_if<ir::Tensor>(&attribute);
    if (tensor == nullptr || !is_other_float(tensor->dtype())) continue;
    node.attributes().set(name, widened(*tensor));
    ++changed;
  }
  const auto to = dtype_from_name(before.text("to", ""));
  if (node.op() == ir::Op::cast && to && is_other_float(*to)) {
    node.attributes().set("to", std::string(dtype_name(DType::f32)));
    ++changed;
  }
  return changed;
}

}  // namespace

Index widen_floats(ir::Graph& graph) {
  Index changed = 0;
  for (std::size_t i = 0; i < graph.value_count(); ++i)
    changed += widen_type(graph, static_cast<ValueId>(i)) ? 1 : 0;
  for (const ir::NodeId id : graph.order())
    changed += widen_attributes(graph.node(id));
  return changed;
}

}  // namespace rtai::raise
