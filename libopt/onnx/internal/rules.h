// How a node of a model becomes nodes of the graph: one rule for each operator.
#pragma once

#include "libopt/onnx/internal/builder.h"
#include "libopt/onnx/internal/source_node.h"

#include <algorithm>
#include <span>
#include <string_view>
#include <utility>

namespace rtai::onnx_io {

/// Appends what `node` means, in the newest spelling, and returns the values of its outputs.
///
/// Errors: invalid_input, unsupported; the caller adds the name of the node.
using Rule = Result<Values> (*)(SourceNode& node, Builder& build);

/// The rule of an operator of the default domain, or null.
Rule find_rule(std::string_view op_type);
/// The rule of an operator of ONNX Runtime's domain, com.microsoft, or null.
Rule find_contrib_rule(std::string_view op_type);
/// The rule of an operator of either domain that works on quantized values, or null.
Rule find_quantized_rule(std::string_view op_type);

struct NamedRule {
  std::string_view op_type;
  Rule rule;
};
/// The rule of that name, or null.
inline Rule find_among(std::span<const NamedRule> rules, std::string_view op_type) {
  const auto found = std::ranges::find(rules, op_type, &NamedRule::op_type);
  return found == rules.end() ? nullptr : found->rule;
}

/// What a rule with one output returns.
inline Result<Values> one(Result<ir::ValueId> value) {
  if (!value) return std::move(value).error();
  return Values{*value};
}

}  // namespace rtai::onnx_io
