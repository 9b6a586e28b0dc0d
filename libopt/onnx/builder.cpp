#include "libopt/onnx/internal/builder.h"

#include <fmt/format.h>

namespace rtai::onnx_io {
namespace {

Result<void> expect_fitting(const ir::OpInfo& op, const Values& inputs, std::size_t outputs) {
  const auto misfit = [](std::string message) {
    return Error{ErrorCode::invalid_input, std::move(message)};
  };
  const auto count = static_cast<int>(inputs.size());
  if (op.most_inputs >= 0 && count > op.most_inputs) {
    return misfit(fmt::format("takes {} inputs at most, has {}", op.most_inputs, count));
  }
  if (op.outputs >= 0 && static_cast<int>(outputs) > op.outputs) {
    return misfit(fmt::format("makes {} outputs at most, has {}", op.outputs, outputs));
  }
  const int required = op.most_inputs < 0 ? std::max(count, op.fewest_inputs) : op.fewest_inputs;
  for (int i = 0; i < required; ++i) {
    if (i >= count || inputs[static_cast<std::size_t>(i)] == ir::kNoValue) {
      return misfit(fmt::format("input {} is missing", i));
    }
  }
  return {};
}

}  // namespace

void Builder::note(ir::ValueId id, const Fact& fact) {
  if (facts_.size() <= static_cast<std::size_t>(id))
    facts_.resize(static_cast<std::size_t>(id) + 1);
  facts_[static_cast<std::size_t>(id)] = fact;
}

ir::ValueId Builder::input(std::string name, ir::Type type) {
  Fact fact{.dtype = type.dtype, .rank = std::nullopt, .length = std::nullopt};
  if (type.dims) {
    fact.rank = std::ssize(*type.dims);
    if (fact.rank == 1 && type.dims->front().is_fixed()) fact.length = type.dims->front().size;
  }
  const ir::ValueId id = graph_.add_input(std::move(name), std::move(type));
  note(id, fact);
  return id;
}

ir::ValueId Builder::constant(ir::Tensor tensor, std::string name) {
  Fact fact{.dtype = tensor.dtype(), .rank = tensor.rank(), .length = std::nullopt};
  if (tensor.rank() == 1) fact.length = tensor.elements();
  const ir::ValueId id = graph_.add_constant(std::move(name), std::move(tensor));
  note(id, fact);
  return id;
}

ir::ValueId Builder::list(const std::vector<std::int64_t>& values) {
  return constant(ir::Tensor::from<std::int64_t>({std::ssize(values)}, values));
}

ir::ValueId Builder::scalar(std::int64_t value) {
  return constant(ir::Tensor::scalar(value));
}

ir::ValueId Builder::real(float value, DType dtype) {
  return constant(ir::Tensor::scalar(value).converted(dtype));
}

Result<Values> Builder::add_many(ir::Op op,
                                 Values inputs,
                                 ir::Attributes attributes,
                                 std::size_t outputs) {
  while (!inputs.empty() && inputs.back() == ir::kNoValue)
    inputs.pop_back();
  RTAI_TRY_VOID(expect_fitting(info(op), inputs, outputs));
  std::vector<Operand> operands;
  for (const ir::ValueId input : inputs) {
    if (input == ir::kNoValue)
      operands.emplace_back();
    else
      operands.push_back({.fact = fact(input), .constant = graph_.constant(input)});
  }
  std::vector<Fact> facts;
  std::vector<ir::Type> types;
  for (std::size_t i = 0; i < outputs; ++i) {
    facts.push_back(infer(op, operands, attributes, i));
    types.push_back({.dtype = facts.back().dtype, .dims = std::nullopt});
  }
  const ir::NodeId node = graph_.append({.op = op,
                                         .inputs = std::move(inputs),
                                         .outputs = std::move(types),
                                         .attributes = std::move(attributes),
                                         .name = source_});
  const std::span<const ir::ValueId> results = graph_.node(node).outputs();
  for (std::size_t i = 0; i < outputs; ++i)
    note(results[i], facts[i]);
  return Values(results.begin(), results.end());
}

Result<ir::ValueId> Builder::add(ir::Op op, Values inputs, ir::Attributes attributes) {
  RTAI_TRY(const Values results, add_many(op, std::move(inputs), std::move(attributes), 1));
  return results[0];
}

}  // namespace rtai::onnx_io
