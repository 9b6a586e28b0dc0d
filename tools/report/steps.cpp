#include "tools/report/steps.h"

#include "runtime/engine/packed_weights.h"
#include "tools/report/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace rtai::tools {
namespace {

using engine::Program;
using engine::Step;
using engine::TensorInfo;

const TensorInfo& tensor_at(const Program& program, engine::TensorIndex index) {
  return program.tensors[static_cast<std::size_t>(index)];
}

std::string step_precision(const Program& program, const Step& step) {
  if (engine::is_int8_attention(step)) return "i8";
  if (step.tensors[0] == engine::kNone) return "f32";
  const TensorInfo& tensor = tensor_at(program, step.tensors[0]);
  const std::string type = tensor.group > 0 ? "i4" : std::string(dtype_name(tensor.dtype));
  if (step.op != engine::OpKind::linear || tensor.dtype != DType::i8) return type;
  return type + (step.real > 0 ? " static" : " dynamic");
}

/// Of its tensors, as they stand in the file.
std::uint64_t step_bytes(const Program& program, const Step& step) {
  std::uint64_t bytes = 0;
  for (const engine::TensorIndex tensor : step.tensors) {
    if (tensor != engine::kNone)
      bytes += engine::bytes_in_file(tensor_at(program, tensor)).value_or(0);
  }
  return bytes;
}

std::string step_name(const Program& program, const Step& step) {
  if (step.tensors[0] == engine::kNone) return "";
  const std::string& name = tensor_at(program, step.tensors[0]).name;
  return name.substr(0, name.find_last_of('.'));
}

/// The tensors of a step that are weights.
std::span<const engine::TensorIndex> weights_of(const Step& step) {
  constexpr std::size_t kTables = 3;  // words, positions, segments
  if (step.op == engine::OpKind::linear) return std::span(step.tensors).first(1);
  if (step.op == engine::OpKind::embedding) return std::span(step.tensors).first(kTables);
  return {};
}

/// Elements that are zero, padding included.
Index count_zeros(const engine::Engine& engine, engine::TensorIndex index) {
  const auto is_zero = [](auto bits) { return (bits & 0x7fff) == 0; };  // either zero
  switch (tensor_at(engine.program, index).dtype) {
    case DType::i8:
      return std::ranges::count(engine.data<std::int8_t>(index), std::int8_t{0});
    case DType::f16:
    case DType::bf16:
      return std::ranges::count_if(engine.data<std::uint16_t>(index), is_zero);
    case DType::f32:
      return std::ranges::count(engine.data<float>(index), 0.0F);
    default:
      return 0;
  }
}

/// The zeros that a layout pads with are none of the weights.
ZeroWeights zeros_of(const engine::Engine& engine, engine::TensorIndex index) {
  const TensorInfo& tensor = tensor_at(engine.program, index);
  const Index weights = tensor.dims[0] * tensor.dims[1];
  const Index padding = static_cast<Index>(tensor.bytes) / dtype_bytes(tensor.dtype) - weights;
  return {.zeros = std::max<Index>(0, count_zeros(engine, index) - padding), .weights = weights};
}

/// More than what int8 rounds to zero: 0.4 to 2.1 % of the layers of MiniLM.
bool is_notable(const ZeroWeights& zeros) {
  constexpr double kNotableShare = 0.05;
  return zeros.share().value_or(0) >= kNotableShare;
}

std::string percent(const ZeroWeights& zeros) {
  return zeros.share() ? fmt::format("{:.1f} %", 100 * *zeros.share()) : "";
}

}  // namespace

std::string step_shape(const Program& program, const Step& step) {
  const engine::ValueInfo& dst = program.values[static_cast<std::size_t>(step.dst)];
  if (engine::is_attention(step)) return fmt::format("{} heads of {}", step.heads, step.head_dim);
  if (step.op == engine::OpKind::linear) {
    const TensorInfo& weight = tensor_at(program, step.tensors[engine::linear_tensor::weight]);
    return fmt::format("{} -> {}", weight.dims[1], weight.dims[0]);
  }
  return fmt::format("{}", dst.columns);
}

std::optional<double> ZeroWeights::share() const {
  if (weights == 0) return std::nullopt;
  return static_cast<double>(zeros) / static_cast<double>(weights);
}

std::vector<ZeroWeights> zero_weights(const engine::Engine& engine) {
  std::map<engine::TensorIndex, ZeroWeights> known;  // layers may share weights
  std::vector<ZeroWeights> result;
  for (const Step& step : engine.program.steps) {
    ZeroWeights sum;
    for (const engine::TensorIndex index : weights_of(step)) {
      if (index == engine::kNone) continue;
      const auto [found, is_new] = known.try_emplace(index);
      if (is_new) found->second = zeros_of(engine, index);
      sum.zeros += found->second.zeros;
      sum.weights += found->second.weights;
    }
    result.push_back(sum);
  }
  return result;
}

Tally steps_tally(const Program& program) {
  Tally tally;
  for (const Step& step : program.steps)
    ++tally[std::string(engine::op_name(step.op))];
  return tally;
}

Json steps_json(const Program& program, std::span<const ZeroWeights> zeros) {
  Json steps = Json::array();
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    const std::optional<double> share = zeros[i].share();
    steps.push_back({{"name", step_name(program, step)},
                     {"op", engine::op_name(step.op)},
                     {"shape", step_shape(program, step)},
                     {"precision", step_precision(program, step)},
                     {"bytes", step_bytes(program, step)},
                     {"zeros", share ? Json(*share) : Json(nullptr)}});
  }
  return steps;
}

std::string steps_text(const Program& program, std::span<const ZeroWeights> zeros) {
  const bool shows_zeros = std::ranges::any_of(zeros, is_notable);
  std::vector<std::string> head = {"step", "op", "shape", "precision", "size"};
  if (shows_zeros) head.emplace_back("zeros");
  Table table(std::move(head));
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const Step& step = program.steps[i];
    std::vector<std::string> row = {step_name(program, step), std::string(engine::op_name(step.op)),
                                    step_shape(program, step), step_precision(program, step),
                                    human_bytes(static_cast<double>(step_bytes(program, step)))};
    if (shows_zeros) row.push_back(percent(zeros[i]));
    table.add(std::move(row));
  }
  return table.text();
}

std::vector<DrawnStep> drawn_steps(const Program& program) {
  std::vector<DrawnStep> drawn;
  std::map<engine::ValueIndex, std::size_t> makers;  // which step a value comes from
  for (const Step& step : program.steps) {
    DrawnStep one{.name = step_name(program, step),
                  .op = std::string(engine::op_name(step.op)),
                  .shape = step_shape(program, step),
                  .precision = step_precision(program, step)};
    for (const engine::ValueIndex source : step.src) {
      if (const auto maker = makers.find(source); maker != makers.end())
        one.sources.push_back(maker->second);
    }
    makers[step.dst] = drawn.size();
    drawn.push_back(std::move(one));
  }
  return drawn;
}

}  // namespace rtai::tools
