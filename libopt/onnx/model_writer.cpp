#include "libopt/onnx/internal/model_writer.h"

#include "libopt/onnx/internal/tensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <limits>

namespace rtai::onnx_io {
namespace {

constexpr Index kIrVersion = 8;  // that of opset 17
constexpr Index kOpset = 17;

void set_dims(onnx::ValueInfoProto& value, DType dtype, const ModelWriter::Names& dims) {
  onnx::TypeProto::Tensor& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(onnx_from_dtype(dtype));
  for (const std::string& dim : dims) {
    onnx::TensorShapeProto::Dimension& target = *tensor.mutable_shape()->add_dim();
    Index size = 0;
    const char* end = dim.data() + dim.size();
    if (std::from_chars(dim.data(), end, size).ptr == end)
      target.set_dim_value(size);
    else
      target.set_dim_param(dim);
  }
}

void set_attributes(onnx::NodeProto& node, const ModelWriter::Attributes& attributes) {
  for (const ModelWriter::Attribute& attribute : attributes) {
    onnx::AttributeProto& target = *node.add_attribute();
    target.set_name(attribute.name);
    if (attribute.is_list) {
      target.set_type(onnx::AttributeProto::INTS);
      for (const Index value : attribute.integers)
        target.add_ints(value);
    } else if (attribute.is_real) {
      target.set_type(onnx::AttributeProto::FLOAT);
      target.set_f(attribute.real);
    } else {
      target.set_type(onnx::AttributeProto::INT);
      target.set_i(attribute.integer);
    }
  }
}

}  // namespace

ModelWriter::ModelWriter(const std::string& producer_version) {
  model_.set_ir_version(kIrVersion);
  model_.set_producer_name("rtai");
  model_.set_producer_version(producer_version);
  model_.add_opset_import()->set_version(kOpset);
  model_.mutable_graph()->set_name("model");
}

void ModelWriter::fact(const std::string& key, const std::string& value) {
  onnx::StringStringEntryProto& entry = *model_.add_metadata_props();
  entry.set_key(key);
  entry.set_value(value);
}

void ModelWriter::input(const std::string& name, DType dtype, const Names& dims) {
  onnx::ValueInfoProto& value = *model_.mutable_graph()->add_input();
  value.set_name(name);
  set_dims(value, dtype, dims);
}

void ModelWriter::output(const std::string& name, const Names& dims) {
  onnx::ValueInfoProto& value = *model_.mutable_graph()->add_output();
  value.set_name(name);
  set_dims(value, DType::f32, dims);
}

std::string ModelWriter::unique(std::string name) {
  if (taken_.insert(name).second) return name;
  for (int suffix = 1;; ++suffix) {
    std::string candidate = fmt::format("{}.{}", name, suffix);
    if (taken_.insert(candidate).second) return candidate;
  }
}

ModelWriter::Names ModelWriter::node(std::string_view op_type,
                                     const Names& inputs,
                                     Names names,
                                     const Attributes& attributes) {
  onnx::NodeProto& node = *model_.mutable_graph()->add_node();
  node.set_op_type(std::string(op_type));
  for (const std::string& input : inputs)
    node.add_input(input);
  for (std::string& name : names) {
    name = unique(std::move(name));
    node.add_output(name);
  }
  node.set_name(names[0]);
  set_attributes(node, attributes);
  return names;
}

std::string ModelWriter::node(std::string_view op_type,
                              const Names& inputs,
                              std::string name,
                              const Attributes& attributes) {
  return node(op_type, inputs, Names{std::move(name)}, attributes)[0];
}

void ModelWriter::node_as(std::string_view op_type,
                          const Names& inputs,
                          const std::string& reserved,
                          const Attributes& attributes) {
  taken_.erase(reserved);
  node(op_type, inputs, reserved, attributes);
}

std::string ModelWriter::initializer(std::string name, const ir::Tensor& tensor) {
  const auto* bytes = reinterpret_cast<const char*>(tensor.bytes().data());
  return initializer(std::move(name), tensor.dtype(), tensor.dims(),
                     {bytes, tensor.bytes().size()});
}

std::string ModelWriter::initializer(std::string name,
                                     DType dtype,
                                     const ir::Dims& dims,
                                     std::string bytes) {
  onnx::TensorProto& target = *model_.mutable_graph()->add_initializer();
  target.set_name(unique(std::move(name)));
  target.set_data_type(onnx_from_dtype(dtype));
  for (const Index dim : dims) {
    target.add_dims(dim);
  }
  target.set_raw_data(std::move(bytes));
  return target.name();
}

std::string ModelWriter::shared(const std::string& key, const ir::Tensor& tensor) {
  const auto found = shared_.find(key);
  if (found != shared_.end()) return found->second;
  return shared_[key] = initializer(key, tensor);
}

std::string ModelWriter::real(float value) {
  return shared(fmt::format("const.{}", value), ir::Tensor::scalar(value));
}

std::string ModelWriter::integer(Index value) {
  return shared(fmt::format("index.{}", value), ir::Tensor::scalar<std::int64_t>(value));
}

std::string ModelWriter::list(const std::vector<Index>& values) {
  return shared(fmt::format("list.{}", fmt::join(values, "_")),
                ir::Tensor::from<std::int64_t>({std::ssize(values)}, values));
}

Result<std::vector<std::byte>> ModelWriter::serialize() const {
  const std::size_t size = model_.ByteSizeLong();
  if (size > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
    return Error{
        ErrorCode::unsupported,
        fmt::format("the model needs {} bytes; an ONNX file without external data holds 2 GiB",
                    size)};
  }
  std::vector<std::byte> bytes(size);
  if (model_.SerializeToArray(bytes.data(), static_cast<int>(size))) return bytes;
  return Error{ErrorCode::internal, "protobuf cannot serialize the model"};
}

}  // namespace rtai::onnx_io
