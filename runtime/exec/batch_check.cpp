#include "runtime/exec/internal/batch_check.h"

#include <algorithm>

namespace rtai::exec {
namespace {

using engine::kNone;
using engine::OpKind;

Result<void> check_indices(std::span<const std::int32_t> indices,
                           Index tokens,
                           Index rows,
                           std::string_view what) {
  if (std::ssize(indices) != tokens) {
    return invalid_input(std::to_string(tokens) + " " + std::string(what) + " expected, found " +
                         std::to_string(indices.size()));
  }
  for (const std::int32_t index : indices) {
    if (index >= 0 && index < rows) continue;
    return invalid_input(std::string(what) + ": " + std::to_string(index) + " is outside [0, " +
                         std::to_string(rows) + ")");
  }
  return {};
}

}  // namespace

InputLimits limits_of(const engine::Program& program) {
  InputLimits limits;
  limits.longest = engine::longest_sequence(program);
  for (const engine::Step& step : program.steps) {
    if (step.op != OpKind::embedding) continue;
    const auto rows = [&](std::size_t slot) {
      const engine::TensorIndex tensor = step.tensors[slot];
      return tensor == kNone ? Index{0} : program.tensors[static_cast<std::size_t>(tensor)].dims[0];
    };
    limits.vocabulary = rows(engine::embedding_tensor::word);
    limits.segments = rows(engine::embedding_tensor::segment);
    limits.position_offset = step.first;
  }
  for (std::size_t i = 0; i < program.inputs.size(); ++i) {
    if (program.values[i].dtype == DType::f32) limits.hidden = program.values[i].columns;
  }
  return limits;
}

Result<Index> check_batch(const Batch& batch, const InputLimits& limits) {
  if (batch.offsets.size() < 2 || batch.offsets.front() != 0)
    return invalid_input("a batch without sequences");
  Index longest = 0;
  for (std::size_t s = 1; s < batch.offsets.size(); ++s) {
    const Index length = Index{batch.offsets[s]} - batch.offsets[s - 1];
    if (length < 1) return invalid_input("sequence " + std::to_string(s - 1) + " is empty");
    longest = std::max(longest, length);
  }
  if (longest > limits.longest) {
    return invalid_input("a sequence of " + std::to_string(longest) + " tokens; the model has " +
                         std::to_string(limits.longest) + " positions");
  }
  const Index tokens = batch.offsets.back();
  if (limits.vocabulary > 0)
    RTAI_TRY_VOID(check_indices(batch.ids, tokens, limits.vocabulary, "ids"));
  if (limits.segments > 0 && !batch.segments.empty()) {
    RTAI_TRY_VOID(check_indices(batch.segments, tokens, limits.segments, "segments"));
  }
  if (std::ssize(batch.hidden) != tokens * limits.hidden)
    return invalid_input("hidden states of another size");
  return longest;
}

}  // namespace rtai::exec
