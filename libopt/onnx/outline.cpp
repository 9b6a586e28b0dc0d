#include "libopt/onnx/outline.h"

#include "libopt/onnx/internal/convert.h"
#include "libopt/onnx/internal/order.h"
#include "libopt/onnx/internal/outline_of.h"
#include "runtime/base/checked.h"

#include <fmt/format.h>

#include <limits>
#include <set>
#include <utility>

namespace rtai::onnx_io {
namespace {

/// The element type of a tensor, or what else the value is.
std::string element_of(const onnx::TypeProto& type) {
  switch (type.value_case()) {
    case onnx::TypeProto::kTensorType:
      return element_name(type.tensor_type().elem_type());
    case onnx::TypeProto::kSequenceType:
      return "sequence";
    case onnx::TypeProto::kMapType:
      return "map";
    case onnx::TypeProto::kOptionalType:
      return "optional";
    case onnx::TypeProto::kSparseTensorType:
      return "sparse " + element_name(type.sparse_tensor_type().elem_type());
    default:
      return "?";
  }
}

DeclaredValue declared(const onnx::ValueInfoProto& value) {
  DeclaredValue result{.name = value.name(), .element = element_of(value.type()), .dims = {}};
  const onnx::TypeProto::Tensor& tensor = value.type().tensor_type();
  if (!tensor.has_shape()) return result;
  result.dims.emplace();
  for (const onnx::TensorShapeProto::Dimension& dim : tensor.shape().dim()) {
    // Some exporters write -1 for what is not fixed.
    if (dim.has_dim_value() && dim.dim_value() >= 0)
      result.dims->emplace_back(Index{dim.dim_value()});
    else
      result.dims->emplace_back(dim.dim_param().empty() ? "?" : dim.dim_param());
  }
  return result;
}

}  // namespace

std::string dims_text(const DeclaredValue& value) {
  if (!value.dims) return "";
  std::vector<std::string> dims;
  for (const ir::Dim& dim : *value.dims)
    dims.push_back(dim.is_fixed() ? std::to_string(dim.size) : dim.symbol);
  return fmt::format("[{}]", fmt::join(dims, ", "));
}

Outline outline_of(const onnx::ModelProto& model) {
  constexpr Index kMostParameters = std::numeric_limits<Index>::max();  // as shapes may claim
  Outline outline;
  outline.producer = model.producer_name();
  if (!model.producer_version().empty()) outline.producer += " " + model.producer_version();
  outline.ir_version = model.ir_version();
  for (const onnx::OperatorSetIdProto& set : model.opset_import())
    outline.opsets[set.domain().empty() ? "ai.onnx" : set.domain()] = set.version();
  std::set<std::string_view> initializers;
  for (const onnx::TensorProto& tensor : model.graph().initializer()) {
    initializers.insert(tensor.name());
    const std::vector<Index> dims(tensor.dims().begin(), tensor.dims().end());
    const Index count = ir::element_count(dims).value_or(0);
    outline.parameters = checked_add(outline.parameters, count).value_or(kMostParameters);
  }
  for (const onnx::ValueInfoProto& input : model.graph().input()) {
    if (!initializers.contains(input.name())) outline.inputs.push_back(declared(input));
  }
  for (const onnx::ValueInfoProto& output : model.graph().output())
    outline.outputs.push_back(declared(output));
  for (const onnx::NodeProto& node : model.graph().node())
    ++outline.operators[operator_of(node)];
  for (const onnx::NodeProto* node : lacking_nodes(model.graph())) {
    outline.lacking.push_back(
        {.node = name_of(*node), .op = operator_of(*node), .reason = "operator not supported"});
  }
  return outline;
}

}  // namespace rtai::onnx_io
