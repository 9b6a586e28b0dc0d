#include "tools/serve/input_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

namespace rtai::serve {

InputLimits limits_of(const engine::Program& program) {
  InputLimits limits{.positions = engine::longest_sequence(program)};
  for (const engine::Step& step : program.steps) {
    if (step.op != engine::OpKind::embedding) continue;
    const auto rows = [&](std::size_t which) {
      const engine::TensorIndex tensor = step.tensors[which];
      return tensor == engine::kNone ? 0
                                     : program.tensors[static_cast<std::size_t>(tensor)].dims[0];
    };
    limits.words = rows(engine::embedding_tensor::word);
    limits.segments = rows(engine::embedding_tensor::segment);
  }
  return limits;
}

Result<void> check_encoding(const InputLimits& limits, const text::Encoding& encoding) {
  if (encoding.ids.empty()) return Error{ErrorCode::invalid_input, "no tokens"};
  if (limits.positions > 0 && std::ssize(encoding.ids) > limits.positions) {
    return Error{ErrorCode::invalid_input, fmt::format("{} tokens, the model takes {}",
                                                       encoding.ids.size(), limits.positions)};
  }
  const auto outside = [](const std::vector<std::int32_t>& values, Index rows) {
    return rows > 0 && std::ranges::any_of(values, [rows](std::int32_t value) {
             return value < 0 || value >= rows;
           });
  };
  if (outside(encoding.ids, limits.words)) {
    return Error{ErrorCode::invalid_input,
                 fmt::format("expected token ids from 0 to {}", limits.words - 1)};
  }
  if (outside(encoding.segments, limits.segments)) {
    return Error{ErrorCode::invalid_input,
                 fmt::format("expected token types from 0 to {}", limits.segments - 1)};
  }
  return {};
}

}  // namespace rtai::serve
