#include "libopt/ir/ops.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace rtai::ir {
namespace {

Error misfit(std::string message) {
  return {ErrorCode::internal, std::move(message)};
}

/// The dims of an input that must have `rank` of them.
Result<std::vector<Dim>> dims_of(const Graph& graph,
                                 std::span<const ValueId> inputs,
                                 std::size_t i,
                                 std::size_t rank,
                                 std::string_view what) {
  if (i >= inputs.size() || inputs[i] == kNoValue) {
    return misfit(fmt::format("input '{}' is missing", what));
  }
  const Type& type = graph.type(inputs[i]);
  if (!type.dims || type.dims->size() != rank) {
    return misfit(fmt::format("input '{}' is {}, expected rank {}", what, to_string(type), rank));
  }
  return *type.dims;
}

bool given(std::span<const ValueId> inputs, std::size_t i) {
  return i < inputs.size() && inputs[i] != kNoValue;
}

Result<void> expect_vector(const Graph& graph,
                           std::span<const ValueId> inputs,
                           std::size_t i,
                           const Dim& size,
                           std::string_view what) {
  RTAI_TRY(const std::vector<Dim> dims, dims_of(graph, inputs, i, 1, what));
  const DType dtype = graph.type(inputs[i]).dtype;
  if (dims[0] == size && dtype == DType::f32) return {};
  return misfit(fmt::format("input '{}' is {}, expected f32[{}]", what,
                            to_string(graph.type(inputs[i])), size.size));
}

Result<Type> infer_embedding(const Graph& graph, std::span<const ValueId> inputs) {
  RTAI_TRY(const std::vector<Dim> ids, dims_of(graph, inputs, Embedding::ids, 1, "ids"));
  RTAI_TRY(const std::vector<Dim> word, dims_of(graph, inputs, Embedding::word, 2, "word"));
  constexpr std::array<std::string_view, 3> kTables = {"word", "position", "segment"};
  for (std::size_t t = 0; t < kTables.size(); ++t) {
    const std::size_t table = Embedding::word + t;
    if (!given(inputs, table)) continue;
    RTAI_TRY(const std::vector<Dim> dims, dims_of(graph, inputs, table, 2, kTables[t]));
    if (dims[1] != word[1]) {
      return misfit(fmt::format("table '{}' has another width than 'word'", kTables[t]));
    }
    if (graph.type(inputs[table]).dtype != DType::i8) continue;
    RTAI_TRY_VOID(expect_vector(graph, inputs, Embedding::word_scale + t, dims[0],
                                fmt::format("{}_scale", kTables[t])));
  }
  return Type{DType::f32, std::vector<Dim>{ids[0], word[1]}};
}

Result<Type> infer_linear(const Graph& graph, std::span<const ValueId> inputs) {
  RTAI_TRY(const std::vector<Dim> src, dims_of(graph, inputs, Linear::src, 2, "src"));
  RTAI_TRY(const std::vector<Dim> weight, dims_of(graph, inputs, Linear::weight, 2, "weight"));
  if (src[1] != weight[1]) {
    return misfit(fmt::format("src is {}, weight is {}", to_string(graph.type(inputs[Linear::src])),
                              to_string(graph.type(inputs[Linear::weight]))));
  }
  if (given(inputs, Linear::bias)) {
    RTAI_TRY_VOID(expect_vector(graph, inputs, Linear::bias, weight[0], "bias"));
  }
  if (graph.type(inputs[Linear::weight]).dtype == DType::i8) {
    RTAI_TRY_VOID(expect_vector(graph, inputs, Linear::weight_scale, weight[0], "weight_scale"));
  }
  if (given(inputs, Linear::src_factor)) {
    RTAI_TRY_VOID(expect_vector(graph, inputs, Linear::src_factor, weight[1], "src_factor"));
  }
  return Type{DType::f32, std::vector<Dim>{src[0], weight[0]}};
}

Result<Type> infer_attention(const Graph& graph,
                             std::span<const ValueId> inputs,
                             const Attributes& attributes) {
  RTAI_TRY(const std::vector<Dim> qkv, dims_of(graph, inputs, Attention::qkv, 2, "qkv"));
  const Index heads = attributes.integer("heads", 0);
  const Index head_dim = attributes.integer("head_dim", 0);
  if (heads <= 0 || head_dim <= 0 || qkv[1] != Dim(3 * heads * head_dim)) {
    return misfit(fmt::format("qkv is {}, heads {}, head_dim {}",
                              to_string(graph.type(inputs[Attention::qkv])), heads, head_dim));
  }
  const Index bits = attributes.integer("bits", 0);
  if (bits != 0 && bits != 8) return misfit(fmt::format("attention in {} bits", bits));
  std::optional<Dim> distances;
  for (const std::size_t i :
       {Attention::bias, Attention::relative_key, Attention::relative_query}) {
    if (!given(inputs, i)) continue;
    RTAI_TRY(const std::vector<Dim> table, dims_of(graph, inputs, i, 2, "relative table"));
    const Dim rows = i == Attention::bias ? heads : heads * head_dim;
    if (!distances) distances = table[1];
    const bool fits = table[0] == rows && table[1] == *distances && table[1].size % 2 == 1;
    if (!fits || !table[1].is_fixed() || bits != 0) {
      return misfit(fmt::format("relative table is {}, heads {}, head_dim {}, bits {}",
                                to_string(graph.type(inputs[i])), heads, head_dim, bits));
    }
  }
  return Type{DType::f32, std::vector<Dim>{qkv[0], Dim(heads * head_dim)}};
}

}  // namespace

bool is_activation_kind(std::string_view kind) {
  constexpr std::array<std::string_view, 6> kKinds = {"gelu", "gelu_tanh", "relu",
                                                      "tanh", "sigmoid",   "silu"};
  return std::find(kKinds.begin(), kKinds.end(), kind) != kKinds.end();
}

Result<Type> infer_type(const Graph& graph,
                        Op op,
                        std::span<const ValueId> inputs,
                        const Attributes& attributes) {
  switch (op) {
    case Op::embedding:
      return infer_embedding(graph, inputs);
    case Op::linear:
      return infer_linear(graph, inputs);
    case Op::attention:
      return infer_attention(graph, inputs, attributes);
    case Op::layer_norm: {
      RTAI_TRY(const std::vector<Dim> src, dims_of(graph, inputs, LayerNorm::src, 2, "src"));
      RTAI_TRY_VOID(expect_vector(graph, inputs, LayerNorm::weight, src[1], "weight"));
      RTAI_TRY_VOID(expect_vector(graph, inputs, LayerNorm::bias, src[1], "bias"));
      return Type{DType::f32, src};
    }
    case Op::activation: {
      RTAI_TRY(const std::vector<Dim> src, dims_of(graph, inputs, Activation::src, 2, "src"));
      if (!is_activation_kind(attributes.text("kind", ""))) {
        return misfit(fmt::format("unknown kind '{}'", attributes.text("kind", "")));
      }
      return Type{DType::f32, src};
    }
    case Op::add: {
      RTAI_TRY(const std::vector<Dim> a, dims_of(graph, inputs, 0, 2, "a"));
      RTAI_TRY(const std::vector<Dim> b, dims_of(graph, inputs, 1, 2, "b"));
      if (a != b) return misfit("the two sides have different types");
      return Type{DType::f32, a};
    }
    case Op::first_token:
    case Op::mean_pool: {
      RTAI_TRY(const std::vector<Dim> src, dims_of(graph, inputs, 0, 2, "src"));
      return Type{DType::f32, std::vector<Dim>{"sequences", src[1]}};
    }
    case Op::l2_normalize: {
      RTAI_TRY(const std::vector<Dim> src, dims_of(graph, inputs, 0, 2, "src"));
      return Type{DType::f32, src};
    }
    case Op::columns: {
      RTAI_TRY(const std::vector<Dim> src, dims_of(graph, inputs, 0, 2, "src"));
      const Index begin = attributes.integer("begin", -1);
      const Index end = attributes.integer("end", -1);
      if (begin < 0 || end <= begin || end > src[1].size) {
        return misfit(fmt::format("columns [{}, {}) of {}", begin, end, src[1].size));
      }
      return Type{DType::f32, std::vector<Dim>{src[0], Dim(end - begin)}};
    }
    default:
      return misfit(fmt::format("'{}' is not of the transformer level", info(op).name));
  }
}

Result<ValueId> append(
    Graph& graph, Op op, std::vector<ValueId> inputs, Attributes attributes, std::string name) {
  RTAI_TRY(Type type, infer_type(graph, op, inputs, attributes).in(info(op).name));
  return graph.result(graph.append({.op = op,
                                    .inputs = std::move(inputs),
                                    .outputs = {std::move(type)},
                                    .attributes = std::move(attributes),
                                    .name = std::move(name)}));
}

HeadShape head_shape(const Node& attention) {
  return {.heads = attention.attributes().integer("heads", 0),
          .head_dim = attention.attributes().integer("head_dim", 0)};
}

}  // namespace rtai::ir
