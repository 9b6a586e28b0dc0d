// One node of a model while it is imported: its inputs, and its attributes, taken one by one.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/onnx/internal/tensors.h"

#include <onnx/onnx_pb.h>

#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::onnx_io {

class SourceNode {
 public:
  /// `version` is that of the operator set the node is from.
  SourceNode(onnx::NodeProto& proto,
             Index version,
             std::vector<ir::ValueId> inputs,
             ExternalData& external)
      : proto_(proto), version_(version), inputs_(std::move(inputs)), external_(external) {}

  std::string_view op_type() const { return proto_.op_type(); }
  Index version() const { return version_; }
  /// The name, or that of the first output.
  std::string name() const;

  const std::vector<ir::ValueId>& inputs() const { return inputs_; }
  ir::ValueId input(std::size_t i) const { return i < inputs_.size() ? inputs_[i] : ir::kNoValue; }
  bool has_input(std::size_t i) const { return input(i) != ir::kNoValue; }
  /// Up to the last one that has a name.
  std::size_t output_count() const;
  bool wants_output(std::size_t i) const;
  /// Errors: invalid_input if there are fewer or more inputs, or one of the first `fewest` is
  /// missing.
  Result<void> expect_inputs(std::size_t fewest, std::size_t most) const;

  // --- attributes: nothing if absent. Errors: invalid_input if it is of another type.
  Result<std::optional<std::int64_t>> integer(std::string_view name);
  Result<std::optional<float>> real(std::string_view name);
  Result<std::optional<std::string>> text(std::string_view name);
  Result<std::optional<std::vector<std::int64_t>>> integers(std::string_view name);
  Result<std::optional<std::vector<float>>> reals(std::string_view name);
  Result<std::optional<ir::Tensor>> tensor(std::string_view name);
  /// An integer that must be 0 or 1.
  Result<bool> flag(std::string_view name, bool fallback);
  /// Errors: invalid_input if it is absent.
  template <class T>
  static Result<T> required(Result<std::optional<T>> attribute, std::string_view name) {
    if (!attribute) return std::move(attribute).error();
    if (*attribute) return **std::move(attribute);
    return Error{ErrorCode::invalid_input, "attribute '" + std::string(name) + "' is missing"};
  }

  /// Errors: invalid_input for attributes given twice; unsupported, by name, for those not taken.
  Result<void> finish() const;

 private:
  Result<onnx::AttributeProto*> find(std::string_view name,
                                     onnx::AttributeProto::AttributeType type);

  onnx::NodeProto& proto_;
  Index version_;
  std::vector<ir::ValueId> inputs_;
  ExternalData& external_;
  std::set<std::string, std::less<>> taken_;
};

}  // namespace rtai::onnx_io
