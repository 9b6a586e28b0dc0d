#include "tools/report/architecture.h"

#include "tools/report/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace rtai::tools {
namespace {

using engine::OpKind;
using engine::Program;
using engine::Step;

const engine::TensorInfo* tensor_of(const Program& program, const Step& step, std::size_t i) {
  const engine::TensorIndex index = step.tensors[i];
  return index == engine::kNone ? nullptr : &program.tensors[static_cast<std::size_t>(index)];
}

/// [n, k] of a linear step.
const std::array<Index, 2>& weight_dims(const Program& program, const Step& step) {
  return tensor_of(program, step, engine::linear_tensor::weight)->dims;
}

/// Which step alone reads the result of another one.
class OnlyReaders {
 public:
  explicit OnlyReaders(const Program& program)
      : readers_(program.values.size(), nullptr), counts_(readers_.size(), 0) {
    for (const Step& step : program.steps) {
      for (const engine::ValueIndex source : step.src) {
        if (source == engine::kNone) continue;
        readers_[static_cast<std::size_t>(source)] = &step;
        ++counts_[static_cast<std::size_t>(source)];
      }
    }
    for (const engine::Output& output : program.outputs)
      ++counts_[static_cast<std::size_t>(output.value)];
  }

  /// Null if it is not one, or of another kind.
  const Step* of(const Step* step, OpKind kind) const {
    if (step == nullptr) return nullptr;
    const auto value = static_cast<std::size_t>(step->dst);
    const Step* reader = counts_[value] == 1 ? readers_[value] : nullptr;
    return reader != nullptr && reader->op == kind ? reader : nullptr;
  }

 private:
  std::vector<const Step*> readers_;  // by value: the last one
  std::vector<int> counts_;
};

/// The activation of the FFN that begins with `in`: linear, activation, linear, residual addition,
/// as ir::find_layers has it. Null if none begins there.
const Step* ffn_activation(const OnlyReaders& only, const Step& in) {
  if (in.op != OpKind::linear) return nullptr;
  const Step* activation = only.of(&in, OpKind::activation);
  return only.of(only.of(activation, OpKind::linear), OpKind::add) != nullptr ? activation
                                                                              : nullptr;
}

void take_attention(Architecture& result, const Step& step) {
  result.layers.push_back({.heads = step.heads});
  result.head_dim = step.head_dim;
  result.causal = result.causal || step.causal;
  result.relative = result.relative || step.op == OpKind::relative_attention;
}

void take_ffn(Architecture& result, const Program& program, const Step& in, Function function) {
  if (result.layers.empty() || result.layers.back().ffn > 0) result.layers.emplace_back();
  result.layers.back().ffn = weight_dims(program, in)[0];
  result.hidden = weight_dims(program, in)[1];
  result.function = function_name(function);
}

void take_embedding(Architecture& result, const Program& program, const Step& step) {
  const auto rows = [&](std::size_t i) {
    const engine::TensorInfo* table = tensor_of(program, step, i);
    return table == nullptr ? 0 : table->dims[0];
  };
  result.vocab = rows(engine::embedding_tensor::word);
  result.positions = rows(engine::embedding_tensor::position);
  result.segments = rows(engine::embedding_tensor::segment);
  result.embedding = program.values[static_cast<std::size_t>(step.dst)].columns;
}

/// "128 -> 72", "tanh", "first token".
std::string head_step(const Program& program, const Step& step) {
  if (step.op == OpKind::linear) return step_shape(program, step);
  std::string name(step.op == OpKind::activation ? function_name(step.function)
                                                 : engine::op_name(step.op));
  std::replace(name.begin(), name.end(), '_', ' ');
  return name;
}

/// The steps behind the last residual addition and its normalization.
std::vector<std::string> head_of(const Program& program) {
  const auto closes_layer = [](const Step& step) {
    return step.op == OpKind::add || step.op == OpKind::embedding;
  };
  auto begin = std::find_if(program.steps.rbegin(), program.steps.rend(), closes_layer).base();
  begin = std::find_if(begin, program.steps.end(),
                       [](const Step& step) { return step.op != OpKind::layer_norm; });
  std::vector<std::string> head;
  for (auto step = begin; step != program.steps.end(); ++step)
    head.push_back(head_step(program, *step));
  return head;
}

std::vector<Index> of_layers(const Architecture& architecture, Index LayerShape::*member) {
  std::vector<Index> values;
  for (const LayerShape& layer : architecture.layers)
    values.push_back(layer.*member);
  return values;
}

/// "12", or "5 to 12" where layers differ.
std::string range_text(const std::vector<Index>& values) {
  const auto [least, most] = std::ranges::minmax(values);
  return least == most ? std::to_string(least) : fmt::format("{} to {}", least, most);
}

bool differ(const std::vector<Index>& values) {
  return std::ranges::any_of(values, [&](Index value) { return value != values.front(); });
}

/// "6 layers, hidden 384, 12 heads of 32, FFN 1536 gelu, vocabulary 30522"
std::vector<std::string> summary(const Architecture& architecture) {
  std::vector<std::string> parts;
  const std::size_t layers = architecture.layers.size();
  parts.push_back(fmt::format("{} layer{}", layers, layers == 1 ? "" : "s"));
  if (architecture.hidden > 0) parts.push_back(fmt::format("hidden {}", architecture.hidden));
  if (architecture.head_dim > 0) {
    parts.push_back(fmt::format("{} heads of {}",
                                range_text(of_layers(architecture, &LayerShape::heads)),
                                architecture.head_dim));
  }
  if (!architecture.function.empty()) {
    parts.push_back(fmt::format("FFN {} {}", range_text(of_layers(architecture, &LayerShape::ffn)),
                                architecture.function));
  }
  if (architecture.vocab > 0) parts.push_back(fmt::format("vocabulary {}", architecture.vocab));
  if (architecture.embedding > 0 && architecture.embedding != architecture.hidden)
    parts.push_back(fmt::format("embedding {}", architecture.embedding));
  if (architecture.causal) parts.emplace_back("causal");
  if (architecture.relative) parts.emplace_back("attention by distance");
  return parts;
}

}  // namespace

Architecture architecture_of(const Program& program) {
  const OnlyReaders only(program);
  Architecture result;
  for (const Step& step : program.steps) {
    if (step.op == OpKind::embedding) take_embedding(result, program, step);
    if (engine::is_attention(step)) take_attention(result, step);
    if (const Step* activation = ffn_activation(only, step))
      take_ffn(result, program, step, activation->function);
  }
  if (result.hidden == 0) result.hidden = result.embedding;
  result.head = head_of(program);
  return result;
}

Json architecture_json(const Architecture& architecture) {
  return {
      {"layers", architecture.layers.size()},
      {"hidden", architecture.hidden},
      {"heads", of_layers(architecture, &LayerShape::heads)},
      {"head_dim", architecture.head_dim},
      {"ffn", of_layers(architecture, &LayerShape::ffn)},
      {"activation", architecture.function.empty() ? Json(nullptr) : Json(architecture.function)},
      {"vocabulary", architecture.vocab},
      {"positions", architecture.positions},
      {"segments", architecture.segments},
      {"embedding", architecture.embedding},
      {"causal", architecture.causal},
      {"relative", architecture.relative},
      {"head", architecture.head}};
}

void add_architecture(Card& card, const Architecture& architecture) {
  card.add_list("architecture", summary(architecture));
  const auto add_by_layer = [&](std::string_view key, const std::vector<Index>& values) {
    if (differ(values)) card.add(key, fmt::format("{}", fmt::join(values, " ")));
  };
  add_by_layer("heads", of_layers(architecture, &LayerShape::heads));
  add_by_layer("FFN", of_layers(architecture, &LayerShape::ffn));
  if (!architecture.head.empty()) card.add_list("head", architecture.head);
}

}  // namespace rtai::tools
