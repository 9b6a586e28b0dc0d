#include "libopt/reference/interpret.h"

#include "libopt/reference/internal/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <optional>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::ValueId;

Result<Tensors> run_operator(Op op, const Call& call) {
  switch (op) {
#define RTAI_OP(name, level, onnx_name, fewest, most, outputs) \
  case Op::name:                                               \
    return op::name(call);
#include "libopt/ir/ops.inc"
#undef RTAI_OP
  }
  return Error{ErrorCode::internal, "an operator outside of the list"};
}

/// Operators that only move elements take 16-bit floats as they are.
bool only_moves_elements(Op op) {
  switch (op) {
    case Op::where:
    case Op::choose:
    case Op::identity:
    case Op::dropout:
    case Op::cast:
    case Op::cast_like:
    case Op::shape:
    case Op::size:
    case Op::reshape:
    case Op::flatten:
    case Op::transpose:
    case Op::squeeze:
    case Op::unsqueeze:
    case Op::expand:
    case Op::tile:
    case Op::concat:
    case Op::split:
    case Op::slice:
    case Op::gather:
    case Op::gather_elements:
    case Op::gather_nd:
    case Op::one_hot:
    case Op::pad:
    case Op::constant_of_shape:
    case Op::trilu:
      return true;
    default:
      return false;
  }
}

bool is_half(DType dtype) {
  return dtype == DType::f16 || dtype == DType::bf16;
}

Result<void> check_inputs(const ir::Node& node, std::span<const ir::Tensor* const> inputs) {
  const ir::OpInfo& op = info(node.op());
  const auto count = static_cast<int>(inputs.size());
  if (count < op.fewest_inputs || (op.most_inputs >= 0 && count > op.most_inputs)) {
    return invalid_input(fmt::format("{} inputs", count));
  }
  const std::size_t required =
      op.most_inputs < 0 ? inputs.size() : static_cast<std::size_t>(op.fewest_inputs);
  for (std::size_t i = 0; i < required; ++i) {
    const bool may_be_absent = node.op() == Op::embedding && i == 1;  // no segments
    if (inputs[i] == nullptr && !may_be_absent)
      return invalid_input(fmt::format("input {} is missing", i));
  }
  for (const ir::Tensor* input : inputs) {
    if (input != nullptr) RTAI_TRY_VOID(expect_possible_dims(input->dims()));
  }
  return {};
}

/// Computes 16-bit floats in f32 and rounds the results back.
Result<Tensors> run_widened(const ir::Node& node,
                            std::span<const ir::Tensor* const> inputs,
                            std::span<const Index> offsets,
                            Budget& budget) {
  const Call outer(node, inputs, offsets, budget);
  Tensors wide(inputs.size());
  std::vector<const ir::Tensor*> pointers(inputs.size(), nullptr);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) continue;
    wide[i] = *inputs[i];
    if (is_half(wide[i].dtype())) {
      RTAI_TRY(wide[i], outer.convert(*inputs[i], DType::f32));
    }
    pointers[i] = &wide[i];
  }
  RTAI_TRY(Tensors results, run_operator(node.op(), Call(node, pointers, offsets, budget)));
  // The scale says what a dequantized tensor is; elsewhere it is the first input.
  const DType narrow = inputs[node.op() == Op::dequantize_linear ? 1 : 0]->dtype();
  const bool is_float_result = results[0].dtype() == DType::f32;
  if (is_half(narrow) && is_float_result) {
    RTAI_TRY(results[0], outer.convert(results[0], narrow));
  }
  return results;
}

Result<Tensors> evaluate_within(const ir::Node& node,
                                std::span<const ir::Tensor* const> inputs,
                                std::span<const Index> offsets,
                                Budget& budget) {
  RTAI_TRY_VOID(check_inputs(node, inputs));
  const bool any_half = std::any_of(inputs.begin(), inputs.end(), [](const ir::Tensor* input) {
    return input != nullptr && is_half(input->dtype());
  });
  try {
    if (any_half && !only_moves_elements(node.op())) {
      return run_widened(node, inputs, offsets, budget);
    }
    return run_operator(node.op(), Call(node, inputs, offsets, budget));
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory"};
  }
}

Result<void> check_input(const ir::Type& type, const ir::Tensor& tensor) {
  const auto fits = [&] {
    if (tensor.dtype() != type.dtype) return false;
    if (!type.dims) return true;
    if (std::ssize(*type.dims) != tensor.rank()) return false;
    return std::equal(
        type.dims->begin(), type.dims->end(), tensor.dims().begin(),
        [](const ir::Dim& want, Index have) { return !want.is_fixed() || want.size == have; });
  };
  if (fits()) return {};
  return invalid_input(fmt::format("expected {}, found {}", to_string(type), describe(tensor)));
}

/// Runs the nodes that the wanted values depend on, in order.
class Interpreter {
 public:
  Interpreter(const ir::Graph& graph, const Run& run, bool keep_all)
      : graph_(graph),
        run_(run),
        keep_all_(keep_all),
        uses_(graph.value_count(), 0),
        values_(graph.value_count()),
        work_left_(run.work_limit),
        has_branches_(!graph.nodes_of(Op::choose).empty()) {}

  Result<void> execute(std::span<const ir::Tensor> inputs, std::span<const ValueId> wanted) {
    RTAI_TRY_VOID(count_uses(wanted));
    RTAI_TRY_VOID(take_inputs(inputs));
    for (const auto& [id, tensor] : run_.given)
      slot(id) = tensor;
    for (const ir::NodeId id : graph_.order()) {
      const ir::Node& node = graph_.node(id);
      if (!is_needed(node)) continue;
      const Error* earlier = failure_before(node);
      Result<void> done = earlier != nullptr ? Result<void>(*earlier) : execute_named(node);
      if (done) continue;
      // A branch that is not taken need not be computable.
      for (const ValueId output : node.outputs())
        failed_.emplace(output, done.error());
      if (!has_branches_) return done;
    }
    for (const ValueId id : wanted) {
      if (const auto failed = failed_.find(id); failed != failed_.end()) return failed->second;
    }
    return {};
  }

  /// The value, or nothing if it was not computed.
  const ir::Tensor* value(ValueId id) const {
    if (run_.given.contains(id)) return &*values_[static_cast<std::size_t>(id)];
    if (const ir::Tensor* constant = graph_.constant(id)) return constant;
    const std::optional<ir::Tensor>& computed = values_[static_cast<std::size_t>(id)];
    return computed ? &*computed : nullptr;
  }

 private:
  std::optional<ir::Tensor>& slot(ValueId id) { return values_[static_cast<std::size_t>(id)]; }
  int& uses(ValueId id) { return uses_[static_cast<std::size_t>(id)]; }

  /// The input of a choice that is not taken; nothing of other nodes.
  std::optional<std::size_t> untaken(const ir::Node& node) const {
    if (node.op() != Op::choose) return std::nullopt;
    const ir::Tensor* condition = value(node.input(0));
    const bool decides =
        condition != nullptr && condition->dtype() == DType::boolean && condition->elements() == 1;
    return decides ? std::optional<std::size_t>(condition->value(0) != 0 ? 2 : 1) : std::nullopt;
  }

  /// Why a value that the node needs could not be computed, or null.
  const Error* failure_before(const ir::Node& node) const {
    if (failed_.empty()) return nullptr;
    const std::optional<std::size_t> ignored = untaken(node);
    for (std::size_t i = 0; i < node.inputs().size(); ++i) {
      const auto failed = failed_.find(node.input(i));
      if (failed != failed_.end() && i != ignored) return &failed->second;
    }
    return nullptr;
  }

  Result<void> execute_named(const ir::Node& node) {
    return execute(node).in(fmt::format("node '{}' ({})", node.name(), info(node.op()).name));
  }

  bool is_needed(const ir::Node& node) {
    return std::any_of(node.outputs().begin(), node.outputs().end(), [&](ValueId output) {
      return keep_all_ || (uses(output) > 0 && !run_.given.contains(output));
    });
  }

  /// How often each value is read on the way to the wanted ones, from the last node to the first.
  Result<void> count_uses(std::span<const ValueId> wanted) {
    for (const ValueId id : wanted) {
      if (static_cast<std::size_t>(id) >= graph_.value_count()) {
        return invalid_input("a wanted value is not of this graph");
      }
      ++uses(id);  // never freed
    }
    for (const auto& [id, tensor] : run_.given) {
      if (static_cast<std::size_t>(id) >= graph_.value_count()) {
        return invalid_input("a given value is not of this graph");
      }
    }
    for (std::size_t i = graph_.order().size(); i-- > 0;) {
      const ir::Node& node = graph_.node(graph_.order()[i]);
      if (!is_needed(node)) continue;
      for (const ValueId input : node.inputs()) {
        if (input != ir::kNoValue) ++uses(input);
      }
    }
    return {};
  }

  Result<void> take_inputs(std::span<const ir::Tensor> inputs) {
    if (inputs.size() != graph_.inputs().size()) {
      return invalid_input(fmt::format("the graph has {} inputs, {} are given",
                                       graph_.inputs().size(), inputs.size()));
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const ValueId id = graph_.inputs()[i];
      if (uses(id) == 0 && !keep_all_) continue;
      RTAI_TRY_VOID(
          check_input(graph_.type(id), inputs[i]).in(fmt::format("input '{}'", graph_.name(id))));
      slot(id) = inputs[i];
    }
    return {};
  }

  Result<void> execute(const ir::Node& node) {
    std::vector<const ir::Tensor*> inputs;
    Index read = 0;  // a reduction works on what it reads, not on what it makes
    for (const ValueId id : node.inputs()) {
      // Of a choice whose other side could not be computed, the taken one stands for both.
      const bool gave_up = failed_.contains(id);
      inputs.push_back(id == ir::kNoValue ? nullptr
                       : gave_up          ? value(node.input(3 - *untaken(node)))
                                          : value(id));
      if (inputs.back() != nullptr) {
        read += inputs.back()->elements();
      } else if (id != ir::kNoValue) {
        return invalid_input(fmt::format("value '{}' is not made by the graph", graph_.name(id)));
      }
    }
    Budget budget{.bytes = run_.memory_limit_bytes - live_bytes_, .work = work_left_};
    RTAI_TRY_VOID(Call(node, inputs, run_.offsets, budget).spend(read));
    RTAI_TRY(Tensors results, evaluate_within(node, inputs, run_.offsets, budget));
    work_left_ = budget.work;
    if (results.size() < node.outputs().size()) {
      return invalid_input(
          fmt::format("has {} outputs, makes {}", node.outputs().size(), results.size()));
    }
    for (std::size_t i = 0; i < node.outputs().size(); ++i) {
      const ValueId output = node.outputs()[i];
      if (run_.given.contains(output)) continue;
      if (uses(output) == 0 && !keep_all_) continue;
      live_bytes_ += std::ssize(results[i].bytes());
      slot(output) = std::move(results[i]);
    }
    if (!keep_all_) release(node);
    return {};
  }

  /// Frees what no later node reads.
  void release(const ir::Node& node) {
    for (const ValueId id : node.inputs()) {
      if (id == ir::kNoValue || --uses(id) > 0 || !slot(id)) continue;
      if (graph_.producer(id) != nullptr && !run_.given.contains(id)) {
        live_bytes_ -= std::ssize(slot(id)->bytes());
      }
      slot(id).reset();
    }
  }

  const ir::Graph& graph_;
  const Run& run_;
  bool keep_all_;
  std::vector<int> uses_;
  std::vector<std::optional<ir::Tensor>> values_;
  Index live_bytes_ = 0;
  Index work_left_;
  bool has_branches_;
  std::map<ValueId, Error> failed_;  // what nodes of branches that could not be computed said
};

}  // namespace

Result<std::vector<ir::Tensor>> interpret(const ir::Graph& graph,
                                          std::span<const ir::Tensor> inputs,
                                          const Run& run) {
  const std::span<const ValueId> wanted =
      run.wanted.empty() ? graph.outputs() : std::span<const ValueId>(run.wanted);
  Interpreter interpreter(graph, run, false);
  RTAI_TRY_VOID(interpreter.execute(inputs, wanted));
  Tensors outputs;
  for (const ValueId id : wanted) {
    const ir::Tensor* value = interpreter.value(id);
    if (value == nullptr) {
      return invalid_input(fmt::format("value '{}' is not made by the graph", graph.name(id)));
    }
    outputs.push_back(*value);
  }
  return outputs;
}

Result<std::map<ValueId, ir::Tensor>> interpret_all(const ir::Graph& graph,
                                                    std::span<const ir::Tensor> inputs,
                                                    const Run& run) {
  Interpreter interpreter(graph, run, true);
  RTAI_TRY_VOID(interpreter.execute(inputs, graph.outputs()));
  std::map<ValueId, ir::Tensor> values;
  for (std::size_t i = 0; i < graph.value_count(); ++i) {
    const auto id = static_cast<ValueId>(i);
    if (const ir::Tensor* value = interpreter.value(id)) values.emplace(id, *value);
  }
  return values;
}

Result<std::vector<ir::Tensor>> evaluate(const ir::Node& node,
                                         std::span<const ir::Tensor* const> inputs,
                                         const Run& run) {
  Budget budget{.bytes = run.memory_limit_bytes, .work = run.work_limit};
  return evaluate_within(node, inputs, run.offsets, budget);
}

std::optional<std::vector<ir::Tensor>> try_evaluate(const ir::Node& node,
                                                    std::span<const ir::Tensor* const> inputs,
                                                    const Run& run) {
  Result<std::vector<ir::Tensor>> results = evaluate(node, inputs, run);
  if (results) return *std::move(results);
  if (results.error().code() == ErrorCode::device) throw std::bad_alloc();
  return std::nullopt;
}

}  // namespace rtai::reference
