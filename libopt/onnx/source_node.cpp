#include "libopt/onnx/internal/source_node.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::onnx_io {
namespace {

using onnx::AttributeProto;

/// Files of IR version 1 and 2 may leave the type out: it is the field that is filled.
bool holds(const AttributeProto& attribute, AttributeProto::AttributeType type) {
  if (attribute.type() != AttributeProto::UNDEFINED) return attribute.type() == type;
  switch (type) {
    case AttributeProto::INT:
      return attribute.has_i();
    case AttributeProto::FLOAT:
      return attribute.has_f();
    case AttributeProto::STRING:
      return attribute.has_s();
    case AttributeProto::TENSOR:
      return attribute.has_t();
    case AttributeProto::INTS:
      return attribute.ints_size() > 0;
    case AttributeProto::FLOATS:
      return attribute.floats_size() > 0;
    default:
      return false;
  }
}

}  // namespace

std::string SourceNode::name() const {
  if (!proto_.name().empty()) return proto_.name();
  return proto_.output_size() > 0 ? proto_.output(0) : "";
}

std::size_t SourceNode::output_count() const {
  int count = proto_.output_size();
  while (count > 0 && proto_.output(count - 1).empty())
    --count;
  return static_cast<std::size_t>(count);
}

bool SourceNode::wants_output(std::size_t i) const {
  return i < output_count() && !proto_.output(static_cast<int>(i)).empty();
}

Result<void> SourceNode::expect_inputs(std::size_t fewest, std::size_t most) const {
  if (inputs_.size() > most) {
    return invalid_input(fmt::format("takes {} inputs at most, has {}", most, inputs_.size()));
  }
  for (std::size_t i = 0; i < fewest; ++i) {
    if (!has_input(i)) return invalid_input(fmt::format("input {} is missing", i));
  }
  return {};
}

Result<AttributeProto*> SourceNode::find(std::string_view name,
                                         AttributeProto::AttributeType type) {
  auto& attributes = *proto_.mutable_attribute();
  const auto found = std::find_if(attributes.begin(), attributes.end(),
                                  [&](const AttributeProto& a) { return a.name() == name; });
  if (found == attributes.end()) return nullptr;
  taken_.emplace(name);
  if (holds(*found, type)) return &*found;
  return invalid_input(fmt::format("attribute '{}' is of type {}, expected {}", name,
                                   AttributeProto::AttributeType_Name(found->type()),
                                   AttributeProto::AttributeType_Name(type)));
}

Result<std::optional<std::int64_t>> SourceNode::integer(std::string_view name) {
  RTAI_TRY(const AttributeProto* found, find(name, AttributeProto::INT));
  return found == nullptr ? std::nullopt : std::optional<std::int64_t>(found->i());
}

Result<std::optional<float>> SourceNode::real(std::string_view name) {
  RTAI_TRY(const AttributeProto* found, find(name, AttributeProto::FLOAT));
  return found == nullptr ? std::nullopt : std::optional<float>(found->f());
}

Result<std::optional<std::string>> SourceNode::text(std::string_view name) {
  RTAI_TRY(const AttributeProto* found, find(name, AttributeProto::STRING));
  return found == nullptr ? std::nullopt : std::optional<std::string>(found->s());
}

Result<std::optional<std::vector<std::int64_t>>> SourceNode::integers(std::string_view name) {
  RTAI_TRY(const AttributeProto* found, find(name, AttributeProto::INTS));
  if (found == nullptr) return std::nullopt;
  return std::vector<std::int64_t>(found->ints().begin(), found->ints().end());
}

Result<std::optional<std::vector<float>>> SourceNode::reals(std::string_view name) {
  RTAI_TRY(const AttributeProto* found, find(name, AttributeProto::FLOATS));
  if (found == nullptr) return std::nullopt;
  return std::vector<float>(found->floats().begin(), found->floats().end());
}

Result<std::optional<ir::Tensor>> SourceNode::tensor(std::string_view name) {
  RTAI_TRY(AttributeProto * found, find(name, AttributeProto::TENSOR));
  if (found == nullptr) return std::nullopt;
  RTAI_TRY(ir::Tensor tensor,
           take_tensor(*found->mutable_t(), external_).in(fmt::format("attribute '{}'", name)));
  return tensor;
}

Result<bool> SourceNode::flag(std::string_view name, bool fallback) {
  RTAI_TRY(const std::optional<std::int64_t> value, integer(name));
  if (!value) return fallback;
  if (*value == 0 || *value == 1) return *value == 1;
  return invalid_input(fmt::format("attribute '{}' is {}, expected 0 or 1", name, *value));
}

Result<void> SourceNode::finish() const {
  std::set<std::string_view> seen;
  for (const AttributeProto& attribute : proto_.attribute()) {
    if (!seen.insert(attribute.name()).second) {
      return invalid_input(fmt::format("attribute '{}' stands twice", attribute.name()));
    }
    if (!taken_.contains(attribute.name())) {
      return Error{
          ErrorCode::unsupported,
          fmt::format("attribute '{}' of version {} is not supported", attribute.name(), version_)};
    }
  }
  return {};
}

}  // namespace rtai::onnx_io
