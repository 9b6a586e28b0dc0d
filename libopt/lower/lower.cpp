#include "libopt/lower/lower.h"

#include "libopt/ir/ops.h"
#include "libopt/lower/pack.h"
#include "runtime/base/aligned_buffer.h"
#include "runtime/base/checked.h"
#include "runtime/engine/format.h"
#include "runtime/engine/packed_weights.h"

#include <fmt/format.h>

#include <cstring>
#include <map>

namespace rtai {
namespace {

using engine::kNone;
using engine::Layout;
using engine::TensorIndex;
using engine::ValueIndex;

/// A tensor of the engine and how its bytes come about.
struct Placed {
  const ir::Tensor* source;
  bool column_sums;  // i32 sums of the rows of an i8 matrix instead of its values
};

class Lowering {
 public:
  explicit Lowering(const ir::Graph& graph) : graph_(graph) {}

  Result<engine::Engine> run() {
    RTAI_TRY_VOID(ir::verify(graph_));
    for (const ir::ValueId input : graph_.inputs()) {
      RTAI_TRY_VOID(add_value(input));
      program_.inputs.push_back(graph_.name(input));
    }
    for (const ir::NodeId id : graph_.order()) {
      const ir::Node& node = graph_.node(id);
      RTAI_TRY_VOID(add_step(node).in(fmt::format("node '{}'", node.name())));
    }
    for (const ir::ValueId output : graph_.outputs()) {
      const auto found = values_.find(output);
      if (found == values_.end()) {
        return Error{ErrorCode::unsupported,
                     fmt::format("output '{}' is a constant", graph_.name(output))};
      }
      program_.outputs.push_back({graph_.name(output), found->second});
    }
    return pack();
  }

 private:
  Result<void> add_value(ir::ValueId id) {
    const ir::Type& type = graph_.type(id);
    engine::ValueInfo info{.rows = engine::Rows::tokens, .dtype = type.dtype, .columns = 1};
    const bool is_ids = type.dtype == DType::i32 && type.dims && type.dims->size() == 1;
    const bool is_rows = type.dtype == DType::f32 && type.dims && type.dims->size() == 2;
    if (!is_ids && !is_rows) {
      return Error{ErrorCode::unsupported,
                   fmt::format("value '{}' is {}, expected i32[tokens] or f32[rows, columns]",
                               graph_.name(id), to_string(type))};
    }
    if (is_rows) {
      info.columns = (*type.dims)[1].size;
      if ((*type.dims)[0] == ir::Dim("sequences")) info.rows = engine::Rows::sequences;
    }
    values_[id] = static_cast<ValueIndex>(program_.values.size());
    program_.values.push_back(info);
    return {};
  }

  ValueIndex value(ir::ValueId id) const { return id == ir::kNoValue ? kNone : values_.at(id); }

  TensorIndex tensor(ir::ValueId id, Layout layout, bool column_sums = false, Index group = 0) {
    if (id == ir::kNoValue) return kNone;
    // The same constant in the same form is stored once: ALBERT's layers share their weights.
    const auto key = std::tuple{id, layout, column_sums};
    if (const auto found = tensors_.find(key); found != tensors_.end()) return found->second;
    const ir::Tensor& source = *graph_.constant(id);
    engine::TensorInfo info{
        .name = graph_.name(id) + (column_sums ? ".sum" : ""),
        .dtype = column_sums ? DType::i32 : source.dtype(),
        .layout = layout,
        .dims = {source.dim(0), source.rank() < 2 || column_sums ? 1 : source.dim(1)},
        .group = static_cast<std::uint16_t>(group)};
    const auto index = static_cast<TensorIndex>(program_.tensors.size());
    program_.tensors.push_back(std::move(info));
    placed_.push_back({&source, column_sums});
    tensors_[key] = index;
    return index;
  }
  TensorIndex row_major(ir::ValueId id) { return tensor(id, Layout::row_major); }

  /// What the node says of an input that is stored in 4 bits; 0: it is not.
  Result<Index> group_of(const ir::Node& node, std::size_t input, const char* attribute) const {
    const Index group = node.attributes().integer(attribute, 0);
    if (group == 0) return group;
    const bool is_i8 =
        node.input(input) != ir::kNoValue && graph_.type(node.input(input)).dtype == DType::i8;
    if (is_i8 && engine::is_group(group)) return group;
    return Error{ErrorCode::unsupported,
                 fmt::format("{} {}, expected 32, 64 or 128 of int8", attribute, group)};
  }

  Result<void> expect_constants(const ir::Node& node, std::size_t first) const {
    for (std::size_t i = first; i < node.inputs().size(); ++i) {
      if (node.input(i) == ir::kNoValue || graph_.is_constant(node.input(i))) continue;
      return Error{ErrorCode::unsupported,
                   fmt::format("input {} is computed, expected a constant", i)};
    }
    return {};
  }

  Result<void> add_step(const ir::Node& node) {
    engine::Step step;
    step.src[0] = values_.contains(node.input(0)) ? value(node.input(0)) : kNone;
    switch (node.op()) {
      case ir::Op::embedding:
        RTAI_TRY_VOID(fill_embedding(node, step));
        break;
      case ir::Op::linear:
        RTAI_TRY_VOID(fill_linear(node, step));
        break;
      case ir::Op::layer_norm:
        RTAI_TRY_VOID(fill_layer_norm(node, step));
        break;
      case ir::Op::attention:
        RTAI_TRY_VOID(fill_attention(node, step));
        break;
      case ir::Op::activation:
        RTAI_TRY_VOID(fill_activation(node, step));
        break;
      case ir::Op::columns:
        step.op = engine::OpKind::columns;
        step.first = static_cast<std::int32_t>(node.attributes().integer("begin", 0));
        step.last = static_cast<std::int32_t>(node.attributes().integer("end", 0));
        break;
      case ir::Op::add:
        step.op = engine::OpKind::add;
        RTAI_TRY_VOID(expect_values(node));
        step.src[1] = value(node.input(1));
        break;
      case ir::Op::first_token:
        step.op = engine::OpKind::first_token;
        break;
      case ir::Op::mean_pool:
        step.op = engine::OpKind::mean_pool;
        break;
      case ir::Op::l2_normalize:
        step.op = engine::OpKind::l2_normalize;
        break;
      default:
        return Error{ErrorCode::unsupported, fmt::format("op '{}' is not of the transformer level",
                                                         ir::info(node.op()).name)};
    }
    RTAI_TRY_VOID(add_value(node.output()));
    step.dst = value(node.output());
    program_.steps.push_back(step);
    return {};
  }

  Result<void> expect_values(const ir::Node& node) const {
    for (const ir::ValueId input : node.inputs()) {
      if (values_.contains(input)) continue;
      return Error{
          ErrorCode::unsupported,
          fmt::format("'{}' is a constant, expected a computed value", graph_.name(input))};
    }
    return {};
  }

  Result<void> fill_embedding(const ir::Node& node, engine::Step& step) {
    using E = ir::Embedding;
    RTAI_TRY_VOID(expect_constants(node, E::word));
    step.op = engine::OpKind::embedding;
    step.src[1] = value(node.input(E::segments));
    for (std::size_t i = 0; i < step.tensors.size(); ++i) {
      Index group = 0;
      if (i < E::kGroups.size()) {
        RTAI_TRY(group, group_of(node, E::word + i, E::kGroups[i]));
      }
      step.tensors[i] = tensor(node.input(E::word + i), Layout::row_major, false, group);
    }
    step.first = static_cast<std::int32_t>(node.attributes().integer("position_offset", 0));
    return {};
  }

  Result<void> fill_linear(const ir::Node& node, engine::Step& step) {
    using namespace engine::linear_tensor;
    using L = ir::Linear;
    RTAI_TRY_VOID(expect_constants(node, L::weight));
    step.op = engine::OpKind::linear;
    RTAI_TRY(const Index group, group_of(node, L::weight, "weight_group"));
    step.tensors[weight] = tensor(node.input(L::weight), Layout::panels, false, group);
    step.tensors[bias] = row_major(node.input(L::bias));
    step.tensors[weight_scale] = row_major(node.input(L::weight_scale));
    if (graph_.type(node.input(L::weight)).dtype == DType::i8) {
      step.tensors[weight_sum] = tensor(node.input(L::weight), Layout::row_major, true);
    }
    step.real = node.attributes().real("src_scale", 0.0f);
    step.tensors[src_factor] = row_major(node.input(L::src_factor));
    return {};
  }

  Result<void> fill_layer_norm(const ir::Node& node, engine::Step& step) {
    RTAI_TRY_VOID(expect_constants(node, ir::LayerNorm::weight));
    step.op = engine::OpKind::layer_norm;
    step.tensors[engine::layer_norm_tensor::weight] = row_major(node.input(ir::LayerNorm::weight));
    step.tensors[engine::layer_norm_tensor::bias] = row_major(node.input(ir::LayerNorm::bias));
    step.real = node.attributes().real("epsilon", 1e-12f);
    return {};
  }

  Result<void> fill_attention(const ir::Node& node, engine::Step& step) {
    using A = ir::Attention;
    RTAI_TRY_VOID(expect_constants(node, A::bias));
    const ir::HeadShape shape = ir::head_shape(node);
    step.op = engine::OpKind::attention;
    for (std::size_t i = A::bias; i < node.inputs().size(); ++i) {
      if (node.input(i) == ir::kNoValue) continue;
      step.op = engine::OpKind::relative_attention;
      step.tensors[i - A::bias] = row_major(node.input(i));
    }
    step.heads = static_cast<std::int32_t>(shape.heads);
    step.head_dim = static_cast<std::int32_t>(shape.head_dim);
    step.real = node.attributes().real("scale", 1.0f);
    step.causal = node.attributes().integer("causal", 0) != 0;
    step.first = static_cast<std::int32_t>(node.attributes().integer("bits", 0));
    return {};
  }

  Result<void> fill_activation(const ir::Node& node, engine::Step& step) const {
    step.op = engine::OpKind::activation;
    const std::string kind = node.attributes().text("kind", "");
    for (int i = 1; i < kFunctionCount; ++i) {
      if (function_name(static_cast<Function>(i)) == kind) step.function = static_cast<Function>(i);
    }
    if (step.function != Function::none) return {};
    return Error{ErrorCode::unsupported, fmt::format("activation '{}'", kind)};
  }

  /// Lays the tensors out one after the other and fills them.
  Result<engine::Engine> pack() {
    std::uint64_t end = 0;
    for (engine::TensorInfo& info : program_.tensors) {
      RTAI_TRY(info.bytes, engine::stored_bytes(info.dtype, info.layout, info.dims));
      info.offset = end;
      end = round_up<std::uint64_t>(end + info.bytes, engine::kEngineAlignment);
    }
    end += engine::kPanelSlack;
    RTAI_TRY(AlignedBuffer buffer, AlignedBuffer::make(end));
    for (std::size_t i = 0; i < program_.tensors.size(); ++i) {
      const engine::TensorInfo& info = program_.tensors[i];
      const std::span<std::byte> target = buffer.span().subspan(info.offset, info.bytes);
      const Placed& placed = placed_[i];
      if (placed.column_sums) {
        sum_rows(*placed.source, target);
      } else if (info.layout == Layout::panels) {
        pack_panels(*placed.source, target);
      } else if (!target.empty()) {
        std::memcpy(target.data(), placed.source->bytes().data(), target.size());
      }
    }
    const auto storage = std::make_shared<const AlignedBuffer>(std::move(buffer));
    engine::Engine engine;
    engine.program = std::move(program_);
    engine.weights = {storage->data(), storage->size()};
    engine.storage = storage;
    return engine;
  }

  const ir::Graph& graph_;
  engine::Program program_;
  std::map<ir::ValueId, ValueIndex> values_;
  std::map<std::tuple<ir::ValueId, Layout, bool>, TensorIndex> tensors_;
  std::vector<Placed> placed_;
};

}  // namespace

Result<engine::Engine> lower(const ir::Graph& graph) {
  return Lowering(graph).run();
}

}  // namespace rtai
