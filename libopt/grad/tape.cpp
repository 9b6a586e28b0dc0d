#include "libopt/grad/tape.h"

#include "libopt/grad/internal/operators.h"

#include <fmt/format.h>

#include <algorithm>
#include <new>

namespace rtai::grad {
namespace {

/// Eigen's temporaries may run out of memory.
template <class Work>
auto guarded(const Work& work) -> decltype(work()) {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory for derivatives"};
  }
}

/// Whether each value depends on one of `wanted`.
std::vector<char> dependents(const ir::Graph& graph, std::span<const ir::ValueId> wanted) {
  std::vector<char> depends(graph.value_count(), 0);
  for (const ir::ValueId value : wanted)
    depends[static_cast<std::size_t>(value)] = 1;
  for (const ir::NodeId id : graph.order()) {
    for (const ir::ValueId src : graph.node(id).inputs()) {
      if (src == ir::kNoValue || depends[static_cast<std::size_t>(src)] == 0) continue;
      depends[static_cast<std::size_t>(graph.result(id))] = 1;
    }
  }
  return depends;
}

}  // namespace

const Operator* find_operator(ir::Op op) {
  static constexpr const Operator* kAll[] = {&kLinear,     &kLayerNorm, &kL2Normalize, &kAttention,
                                             &kActivation, &kAdd,       &kEmbedding,   &kFirstToken,
                                             &kMeanPool,   &kColumns};
  for (const Operator* one : kAll) {
    if (one->op == op) return one;
  }
  return nullptr;
}

namespace {

Call call_of(const ir::Node& node,
             const std::vector<ir::Tensor>& values,
             std::span<const Index> offsets) {
  Call call{.node = node, .inputs = {}, .offsets = offsets};
  for (const ir::ValueId src : node.inputs())
    call.inputs.push_back(src == ir::kNoValue ? nullptr : &values[static_cast<std::size_t>(src)]);
  return call;
}

}  // namespace

Result<Tape> Tape::record(const ir::Graph& graph,
                          std::span<const ir::Tensor> inputs,
                          std::span<const Index> offsets) {
  Tape tape(graph);
  tape.offsets_.assign(offsets.begin(), offsets.end());
  for (std::size_t i = 0; i < inputs.size(); ++i)
    tape.values_[static_cast<std::size_t>(graph.inputs()[i])] = inputs[i];
  for (const ir::ValueId id : graph.constants())
    tape.values_[static_cast<std::size_t>(id)] = *graph.constant(id);
  for (const ir::NodeId id : graph.order()) {
    const ir::Node& node = graph.node(id);
    const Operator* one = find_operator(node.op());
    if (one == nullptr) {
      return Error{ErrorCode::unsupported,
                   fmt::format("operator '{}' has no derivative", ir::info(node.op()).name)};
    }
    const Call call = call_of(node, tape.values_, tape.offsets_);
    RTAI_TRY(tape.values_[static_cast<std::size_t>(node.output())],
             guarded([&] { return one->forward(call); }).in(fmt::format("node '{}'", node.name())));
  }
  return tape;
}

Result<Gradients> Tape::back(const Gradients& given, std::span<const ir::ValueId> wanted) const {
  const std::vector<char> depends = dependents(*graph_, wanted);
  Gradients gradients = given;
  // The derivative by `id` as far as it is summed up; zeros at first.
  const auto slot_of = [&](ir::ValueId id) -> Result<ir::Tensor*> {
    const auto found = gradients.find(id);
    if (found != gradients.end()) return &found->second;
    RTAI_TRY(ir::Tensor zeros, ir::Tensor::zeros(DType::f32, value(id).dims()));
    return &gradients.emplace(id, std::move(zeros)).first->second;
  };
  const std::span<const ir::NodeId> order = graph_->order();
  for (auto id = order.rbegin(); id != order.rend(); ++id) {
    const ir::Node& node = graph_->node(*id);
    const auto d_dst = gradients.find(node.output());
    if (d_dst == gradients.end() || depends[static_cast<std::size_t>(node.output())] == 0) continue;
    std::vector<ir::Tensor*> slots;
    bool is_way = false;  // to something wanted
    for (const ir::ValueId src : node.inputs()) {
      slots.push_back(nullptr);
      if (src == ir::kNoValue || depends[static_cast<std::size_t>(src)] == 0) continue;
      RTAI_TRY(slots.back(), slot_of(src));
      is_way = true;
    }
    if (!is_way) continue;
    RTAI_TRY_VOID(guarded([&]() -> Result<void> {
      find_operator(node.op())->backward(call_of(node, values_, offsets_), d_dst->second, slots);
      return {};
    }));
    const bool is_wanted = std::ranges::find(wanted, node.output()) != wanted.end();
    if (!is_wanted) gradients.erase(d_dst);
  }
  Gradients result;
  for (const ir::ValueId id : wanted) {
    RTAI_TRY(ir::Tensor * slot, slot_of(id));
    result.emplace(id, *slot);
  }
  return result;
}

}  // namespace rtai::grad
