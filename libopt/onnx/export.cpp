#include "libopt/onnx/export.h"

#include "libopt/ir/ops.h"
#include "libopt/onnx/internal/export_relative.h"
#include "libopt/onnx/internal/model_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <numbers>
#include <optional>

namespace rtai::onnx_io {
namespace {

using ir::Node;
using ir::Op;
using ir::Tensor;
using ir::ValueId;
using Names = ModelWriter::Names;

// What is added to the scores of padding. exp of it is 0 beside any real token, and a row without
// one is uniform instead of NaN, because it is finite.
constexpr float kMasked = std::numeric_limits<float>::lowest();

constexpr const char* kIds = "input_ids";
constexpr const char* kMask = "attention_mask";
constexpr const char* kSegments = "token_type_ids";

/// The bytes of a [n, k] matrix as [k, n].
std::string transposed_bytes(const Tensor& weight) {
  const auto size = static_cast<std::size_t>(dtype_bytes(weight.dtype()));
  const auto n = static_cast<std::size_t>(weight.dim(0));
  const auto k = static_cast<std::size_t>(weight.dim(1));
  const std::span<const std::byte> src = weight.bytes();
  std::string dst(src.size(), '\0');
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t p = 0; p < k; ++p) {
      std::memcpy(dst.data() + (p * n + i) * size, src.data() + (i * k + p) * size, size);
    }
  }
  return dst;
}

class Exporter {
 public:
  Exporter(const ir::Graph& graph, const ExportOptions& options)
      : graph_(graph),
        dynamic_scale_(options.dynamic_scale),
        write_(options.producer_version),
        names_(graph.value_count()) {
    for (const auto& [key, value] : options.facts)
      write_.fact("rtai." + key, value);
  }

  Result<std::vector<std::byte>> run() {
    RTAI_TRY_VOID(ir::verify(graph_));
    RTAI_TRY_VOID(interface());
    for (const ir::NodeId id : graph_.order()) {
      RTAI_TRY_VOID(convert(graph_.node(id)).in(fmt::format("node '{}'", graph_.node(id).name())));
    }
    RTAI_TRY_VOID(outputs());
    return write_.serialize();
  }

 private:
  // --- the interface

  Result<void> interface() {
    Names inputs = {kIds, kMask};
    ValueId ids = ir::kNoValue;
    ValueId segments = ir::kNoValue;
    for (const ir::NodeId id : graph_.nodes_of(Op::embedding)) {
      const Node& node = graph_.node(id);
      if (ids == ir::kNoValue) ids = node.input(ir::Embedding::ids);
      if (segments == ir::kNoValue) segments = node.input(ir::Embedding::segments);
      if (node.input(ir::Embedding::ids) != ids ||
          node.input(ir::Embedding::segments) != segments) {
        return Error{ErrorCode::unsupported, "embeddings of different inputs"};
      }
    }
    if (segments != ir::kNoValue) inputs.emplace_back(kSegments);
    for (const std::string& name : inputs) {
      write_.reserve(name);
      write_.input(name, DType::i64, {"batch", "seq"});
    }
    for (const ValueId output : graph_.outputs()) {
      if (write_.reserve(graph_.name(output))) continue;
      return Error{
          ErrorCode::unsupported,
          fmt::format("output '{}' has the name of an input or stands twice", graph_.name(output))};
    }
    return {};
  }

  bool has_token_rows(ValueId value) const {
    return graph_.type(value).dims->front() == ir::Dim("tokens");
  }

  /// One column cut out of a wider result: what question answering has for start and end.
  bool is_single_column(ValueId value) const {
    const Node* producer = graph_.producer(value);
    return producer != nullptr && producer->op() == Op::columns && has_token_rows(value) &&
           graph_.type(value).dims->back() == ir::Dim(1);
  }

  Result<void> outputs() {
    for (const ValueId output : graph_.outputs()) {
      const std::string& name = graph_.name(output);
      if (name_of(output).empty()) {
        return Error{ErrorCode::unsupported, fmt::format("output '{}' is not computed", name)};
      }
      const std::string columns = std::to_string(graph_.type(output).dims->back().size);
      if (is_single_column(output)) {
        write_.node_as("Squeeze", {name_of(output), write_.list({-1})}, name);
        write_.output(name, {"batch", "seq"});
        continue;
      }
      if (name_of(output) != name) write_.node_as("Identity", {name_of(output)}, name);
      write_.output(
          name, has_token_rows(output) ? Names{"batch", "seq", columns} : Names{"batch", columns});
    }
    return {};
  }

  // --- values

  const std::string& name_of(ValueId value) const {
    return names_[static_cast<std::size_t>(value)];
  }
  void set_name(const Node& node, std::string name) {
    names_[static_cast<std::size_t>(node.output())] = std::move(name);
  }
  /// A name for something on the way to the result of `node`.
  std::string part(const Node& node, std::string_view what) const {
    return fmt::format("{}/{}", graph_.name(node.output()), what);
  }
  /// Appends the last node of what `node` becomes.
  Result<void> finish(const Node& node,
                      std::string_view op_type,
                      const Names& inputs,
                      const ModelWriter::Attributes& attributes = {}) {
    const ValueId result = node.output();
    if (std::ranges::count(graph_.outputs(), result) > 0 && !is_single_column(result)) {
      write_.node_as(op_type, inputs, graph_.name(result), attributes);
      set_name(node, graph_.name(result));
    } else {
      set_name(node, write_.node(op_type, inputs, part(node, "result"), attributes));
    }
    return {};
  }

  /// A constant as it is, or transposed; one initializer however many nodes read it.
  std::string constant(ValueId value, bool transpose = false) {
    std::string& name = constants_[{value, transpose}];
    if (!name.empty()) return name;
    // bf16 is a way to store f32: few runtimes multiply it.
    const Tensor& stored = *graph_.constant(value);
    const Tensor tensor = stored.dtype() == DType::bf16 ? stored.converted(DType::f32) : stored;
    if (!transpose) return name = write_.initializer(graph_.name(value), tensor);
    return name = write_.initializer(graph_.name(value), tensor.dtype(),
                                     {tensor.dim(1), tensor.dim(0)}, transposed_bytes(tensor));
  }

  // --- parts that several nodes share

  /// 1 for tokens, 0 for padding: f32[batch, seq]
  std::string real_mask() {
    if (real_mask_.empty())
      real_mask_ = write_.node("Cast", {kMask}, "mask/real", {{"to", Index{1}}});
    return real_mask_;
  }

  /// What is added to scores: f32[batch, 1, 1, seq]
  std::string mask_bias() {
    if (!mask_bias_.empty()) return mask_bias_;
    const std::string wide =
        write_.node("Unsqueeze", {real_mask(), write_.list({1, 2})}, "mask/wide");
    const std::string padding = write_.node("Sub", {write_.real(1), wide}, "mask/padding");
    return mask_bias_ = write_.node("Mul", {padding, write_.real(kMasked)}, "mask/bias");
  }

  /// The same and no later token: f32[batch, 1, seq, seq]
  std::string causal_bias() {
    if (!causal_bias_.empty()) return causal_bias_;
    const std::string places =
        write_.node("Range", {write_.integer(0), seq(), write_.integer(1)}, "causal/places");
    const std::string rows = write_.node("Unsqueeze", {places, write_.list({1})}, "causal/rows");
    const std::string later = write_.node("Greater", {places, rows}, "causal/later");
    const std::string bias =
        write_.node("Where", {later, write_.real(kMasked), write_.real(0)}, "causal/bias");
    return causal_bias_ = write_.node("Min", {mask_bias(), bias}, "causal/mask_bias");
  }

  /// The padded length: an int64 scalar
  std::string seq() {
    if (!seq_.empty()) return seq_;
    const std::string shape = write_.node("Shape", {kIds}, "ids/shape");
    return seq_ = write_.node("Gather", {shape, write_.integer(1)}, "ids/seq");
  }

  // --- operators

  /// Rows that an operator reads must be computed by the graph, those it makes be a matrix.
  Result<void> expect_rows(const Node& node) const {
    const std::optional<std::vector<ir::Dim>>& dims = graph_.type(node.output()).dims;
    const std::size_t read = node.op() == Op::add ? 2 : node.op() == Op::embedding ? 0 : 1;
    const std::span<const ValueId> rows = node.inputs().first(read);
    const bool computed = std::ranges::none_of(
        rows, [&](ValueId value) { return value == ir::kNoValue || name_of(value).empty(); });
    if (computed && dims && dims->size() == 2) return {};
    return Error{ErrorCode::unsupported,
                 fmt::format("'{}' does not work on rows of tokens", info(node.op()).name)};
  }

  Result<void> convert(const Node& node) {
    if (info(node.op()).level != ir::Level::onnx) RTAI_TRY_VOID(expect_rows(node));
    switch (node.op()) {
      case Op::embedding:
        return embedding(node);
      case Op::linear:
        return linear(node);
      case Op::layer_norm:
        return layer_norm(node);
      case Op::attention:
        return attention(node);
      case Op::activation:
        return activation(node);
      case Op::add:
        return finish(node, "Add", {name_of(node.input(0)), name_of(node.input(1))});
      case Op::first_token:
        return finish(node, "Gather", {name_of(node.input(0)), write_.integer(0)},
                      {{"axis", Index{1}}});
      case Op::mean_pool:
        return mean_pool(node);
      case Op::l2_normalize:
        return l2_normalize(node);
      case Op::columns:
        return finish(node, "Slice",
                      {name_of(node.input(0)), write_.list({node.attributes().integer("begin", 0)}),
                       write_.list({node.attributes().integer("end", 0)}), write_.list({-1})});
      default:
        return Error{ErrorCode::unsupported,
                     fmt::format("'{}' is not of the transformer level", info(node.op()).name)};
    }
  }

  /// Rows of a table: f32[..., hidden]; `ids` may have any shape.
  std::string table_rows(const Node& node,
                         std::size_t table,
                         const std::string& ids,
                         std::string_view what) {
    const std::string rows =
        write_.node("Gather", {constant(node.input(table)), ids}, part(node, what));
    if (graph_.type(node.input(table)).dtype != DType::i8) return rows;
    const std::size_t scales = table - ir::Embedding::word + ir::Embedding::word_scale;
    const std::string real =
        write_.node("Cast", {rows}, part(node, fmt::format("{}_real", what)), {{"to", Index{1}}});
    const std::string scale = write_.node("Gather", {constant(node.input(scales)), ids},
                                          part(node, fmt::format("{}_scale", what)));
    const std::string wide = write_.node("Unsqueeze", {scale, write_.list({-1})},
                                         part(node, fmt::format("{}_scale_wide", what)));
    return write_.node("Mul", {real, wide}, part(node, fmt::format("{}_scaled", what)));
  }

  Result<void> embedding(const Node& node) {
    using E = ir::Embedding;
    std::string sum = table_rows(node, E::word, kIds, "word");
    if (node.input(E::position) != ir::kNoValue) {
      const Index first = node.attributes().integer("position_offset", 0);
      const std::string end =
          write_.node("Add", {seq(), write_.integer(first)}, part(node, "position_end"));
      const std::string places = write_.node(
          "Range", {write_.integer(first), end, write_.integer(1)}, part(node, "positions"));
      const std::string rows = table_rows(node, E::position, places, "position");
      sum = write_.node("Add", {sum, rows}, part(node, "word_position"));
    }
    if (node.input(E::segment) != ir::kNoValue) {
      const std::string rows = table_rows(node, E::segment, kSegments, "segment");
      sum = write_.node("Add", {sum, rows}, part(node, "all_tables"));
    }
    set_name(node, sum);
    return {};
  }

  Result<void> linear(const Node& node) {
    using L = ir::Linear;
    const bool is_int8 = graph_.type(node.input(L::weight)).dtype == DType::i8;
    const float src_scale = node.attributes().real("src_scale", 0.0f);
    std::string result;
    if (!is_int8) {
      result = write_.node("MatMul",
                           {name_of(node.input(L::src)), constant(node.input(L::weight), true)},
                           part(node, "product"));
    } else if (src_scale > 0) {
      result = static_product(node, src_scale);
    } else if (dynamic_scale_ == DynamicScale::row) {
      result = product_by_rows(node);
    } else {
      result = product_by_batch(node);
    }
    if (node.input(L::bias) != ir::kNoValue) {
      return finish(node, "Add", {result, constant(node.input(L::bias))});
    }
    set_name(node, result);
    return {};
  }

  /// What is quantized: the source, its columns smoothed where the layer says so.
  std::string int8_source(const Node& node) {
    using L = ir::Linear;
    const std::string& src = name_of(node.input(L::src));
    if (node.input(L::src_factor) == ir::kNoValue) return src;
    return write_.node("Mul", {src, constant(node.input(L::src_factor))}, part(node, "smooth"));
  }

  /// QuantizeLinear, DequantizeLinear on both sides of a MatMul: what runtimes fuse into int8
  /// kernels.
  std::string static_product(const Node& node, float src_scale) {
    using L = ir::Linear;
    const std::string scale = write_.real(src_scale);
    if (zero_.empty()) zero_ = write_.initializer("zero_point", Tensor::scalar<std::int8_t>(0));
    const std::string quantized =
        write_.node("QuantizeLinear", {int8_source(node), scale, zero_}, part(node, "quantized"));
    const std::string src =
        write_.node("DequantizeLinear", {quantized, scale, zero_}, part(node, "src"));
    const Index n = graph_.constant(node.input(L::weight))->dim(0);
    const std::string zero_points = write_.initializer(
        part(node, "zero_points"), DType::i8, {n}, std::string(static_cast<std::size_t>(n), '\0'));
    const std::string weight = write_.node(
        "DequantizeLinear",
        {constant(node.input(L::weight), true), constant(node.input(L::weight_scale)), zero_points},
        part(node, "weight"), {{"axis", Index{1}}});
    return write_.node("MatMul", {src, weight}, part(node, "product"));
  }

  /// Whole numbers, -most ... most, and the scales that make them what they were: one for all along
  /// `axis`, where the largest magnitude becomes `most`.
  struct Steps {
    std::string numbers;
    std::string scale;
  };
  Steps in_steps(
      const Node& node, const std::string& src, std::string_view what, Index axis, float most) {
    const auto named = [&](std::string_view step) {
      return part(node, fmt::format("{}_{}", what, step));
    };
    const std::string magnitudes = write_.node("Abs", {src}, named("magnitudes"));
    const std::string largest =
        write_.node("ReduceMax", {magnitudes}, named("largest"),
                    {{"axes", std::vector<Index>{axis}}, {"keepdims", Index{1}}});
    const std::string quotient =
        write_.node("Div", {largest, write_.real(most)}, named("quotient"));
    const std::string not_zero =
        write_.node("Greater", {largest, write_.real(0)}, named("not_zero"));
    const std::string scale =
        write_.node("Where", {not_zero, quotient, write_.real(1)}, named("scale"));
    const std::string scaled = write_.node("Div", {src, scale}, named("scaled"));
    const std::string rounded = write_.node("Round", {scaled}, named("rounded"));
    return {write_.node("Clip", {rounded, write_.real(-most), write_.real(most)}, named("clipped")),
            scale};
  }

  /// Real numbers as in_steps() leaves them.
  std::string in_steps_and_back(const Node& node,
                                const std::string& src,
                                std::string_view what,
                                Index axis) {
    const Steps steps = in_steps(node, src, what, axis, 127);
    return write_.node("Mul", {steps.numbers, steps.scale},
                       part(node, fmt::format("{}_real", what)));
  }

  /// A scale for each row, its largest magnitude over 127, and an exact product of integers.
  std::string product_by_rows(const Node& node) {
    using L = ir::Linear;
    const auto [clipped, scale] = in_steps(node, int8_source(node), "src", -1, 127);
    constexpr Index kInt8 = 3;
    constexpr Index kFloat = 1;
    const std::string quantized =
        write_.node("Cast", {clipped}, part(node, "quantized"), {{"to", kInt8}});
    const std::string sums = write_.node(
        "MatMulInteger", {quantized, constant(node.input(L::weight), true)}, part(node, "sums"));
    const std::string real = write_.node("Cast", {sums}, part(node, "sums_real"), {{"to", kFloat}});
    const std::string by_row = write_.node("Mul", {real, scale}, part(node, "by_row"));
    return write_.node("Mul", {by_row, constant(node.input(L::weight_scale))},
                       part(node, "product"));
  }

  /// One scale and zero point for all rows, in the order that ONNX Runtime fuses.
  std::string product_by_batch(const Node& node) {
    using L = ir::Linear;
    const Names quantized = write_.node(
        "DynamicQuantizeLinear", {int8_source(node)},
        Names{part(node, "quantized"), part(node, "src_scale"), part(node, "src_zero")}, {});
    const std::string sums = write_.node(
        "MatMulInteger", {quantized[0], constant(node.input(L::weight), true), quantized[2]},
        part(node, "sums"));
    constexpr Index kFloat = 1;
    const std::string real = write_.node("Cast", {sums}, part(node, "sums_real"), {{"to", kFloat}});
    const std::string scale = write_.node(
        "Mul", {quantized[1], constant(node.input(L::weight_scale))}, part(node, "scale"));
    return write_.node("Mul", {real, scale}, part(node, "product"));
  }

  Result<void> layer_norm(const Node& node) {
    using N = ir::LayerNorm;
    return finish(node, "LayerNormalization",
                  {name_of(node.input(N::src)), constant(node.input(N::weight)),
                   constant(node.input(N::bias))},
                  {{"axis", Index{-1}}, {"epsilon", node.attributes().real("epsilon", 1e-5f)}});
  }

  /// [batch, seq, heads * head_dim] -> [batch, heads, ...] in the order of `perm`
  std::string by_heads(const Node& node,
                       const std::string& src,
                       std::string_view what,
                       std::vector<Index> perm) {
    const auto [heads, head_dim] = ir::head_shape(node);
    const std::string split = write_.node("Reshape", {src, write_.list({0, 0, heads, head_dim})},
                                          part(node, fmt::format("{}_heads", what)));
    return write_.node("Transpose", {split}, part(node, what), {{"perm", std::move(perm)}});
  }

  Index span_of(ValueId table) const { return graph_.constant(table)->dim(1) / 2 + 1; }

  std::string relative_product(const Node& node,
                               const std::string& rows,
                               ir::Attention::Input input,
                               std::string_view what) {
    const auto [heads, head_dim] = ir::head_shape(node);
    const ValueId table = node.input(input);
    return relative_.product({.rows = rows,
                              .table = constant(table),
                              .heads = heads,
                              .head_dim = head_dim,
                              .span = span_of(table),
                              .of_keys = input == ir::Attention::relative_query,
                              .prefix = part(node, what)},
                             seq());
  }

  Result<void> attention(const Node& node) {
    const auto [heads, head_dim] = ir::head_shape(node);
    const Index width = heads * head_dim;
    const Names qkv =
        write_.node("Split", {name_of(node.input(0)), write_.list({width, width, width})},
                    Names{part(node, "q_rows"), part(node, "k_rows"), part(node, "v_rows")},
                    {{"axis", Index{-1}}});
    std::string q = by_heads(node, qkv[0], "q", {0, 2, 1, 3});
    std::string k = by_heads(node, qkv[1], "k", {0, 2, 3, 1});
    if (is_in_steps(node)) {
      q = in_steps_and_back(node, q, "q", -1);
      k = in_steps_and_back(node, k, "k", -2);
    }
    const std::string v = by_heads(node, qkv[2], "v", {0, 2, 1, 3});
    std::string product = write_.node("MatMul", {q, k}, part(node, "product"));
    using A = ir::Attention;
    if (node.input(A::relative_key) != ir::kNoValue) {
      const std::string more = relative_product(node, q, A::relative_key, "by_query");
      product = write_.node("Add", {product, more}, part(node, "product_q"));
    }
    if (node.input(A::relative_query) != ir::kNoValue) {
      const std::string keys = write_.node("Transpose", {k}, part(node, "k_by_token"),
                                           {{"perm", std::vector<Index>{0, 1, 3, 2}}});
      const std::string more = relative_product(node, keys, A::relative_query, "by_key");
      product = write_.node("Add", {product, more}, part(node, "product_k"));
    }
    const std::string scale = write_.real(node.attributes().real("scale", 1.0f));
    std::string scores = write_.node("Mul", {product, scale}, part(node, "scores"));
    if (const ValueId bias = node.input(A::bias); bias != ir::kNoValue) {
      const std::string shifts = relative_.bias(constant(bias), span_of(bias), seq());
      scores = write_.node("Add", {scores, shifts}, part(node, "biased"));
    }
    const bool causal = node.attributes().integer("causal", 0) != 0;
    const std::string masked =
        write_.node("Add", {scores, causal ? causal_bias() : mask_bias()}, part(node, "masked"));
    const std::string weights =
        write_.node("Softmax", {masked}, part(node, "weights"), {{"axis", Index{-1}}});
    const std::string context = is_in_steps(node)
                                    ? context_in_steps(node, weights, v)
                                    : write_.node("MatMul", {weights, v}, part(node, "context"));
    const std::string rows = write_.node("Transpose", {context}, part(node, "context_rows"),
                                         {{"perm", std::vector<Index>{0, 2, 1, 3}}});
    return finish(node, "Reshape", {rows, write_.list({0, 0, width})});
  }

  /// True where attention is computed as runtime/kernels/attention_i8.h says. ONNX has no integers
  /// with a scale for each head of each token: whole numbers in floats are as exact.
  bool is_in_steps(const Node& node) const {
    return node.attributes().integer("bits", 0) == 8 && dynamic_scale_ == DynamicScale::row;
  }

  /// weights [batch, heads, seq, seq] times v [batch, heads, seq, head_dim], both in whole steps: a
  /// value's scale counts as part of its weight, of which the largest becomes 255.
  std::string context_in_steps(const Node& node, const std::string& weights, const std::string& v) {
    const Steps values = in_steps(node, v, "v", -1, 127);
    const std::string scale = write_.node("Transpose", {values.scale}, part(node, "v_scale_row"),
                                          {{"perm", std::vector<Index>{0, 1, 3, 2}}});
    const std::string shares = write_.node("Mul", {weights, scale}, part(node, "shares"));
    const Steps steps = in_steps(node, shares, "shares", -1, 255);
    const std::string real =
        write_.node("Mul", {steps.numbers, steps.scale}, part(node, "shares_real"));
    return write_.node("MatMul", {real, values.numbers}, part(node, "context"));
  }

  Result<void> activation(const Node& node) {
    const std::string src = name_of(node.input(0));
    const std::string kind = node.attributes().text("kind", "");
    if (kind == "relu") return finish(node, "Relu", {src});
    if (kind == "tanh") return finish(node, "Tanh", {src});
    if (kind == "sigmoid") return finish(node, "Sigmoid", {src});
    if (kind == "silu") {
      return finish(node, "Mul", {src, write_.node("Sigmoid", {src}, part(node, "sigmoid"))});
    }
    const std::string inner =
        kind == "gelu" ? gelu_erf_inner(node, src) : gelu_tanh_inner(node, src);
    const std::string gate = write_.node("Add", {inner, write_.real(1)}, part(node, "gate"));
    const std::string doubled = write_.node("Mul", {src, gate}, part(node, "doubled"));
    return finish(node, "Mul", {doubled, write_.real(0.5f)});
  }

  std::string gelu_erf_inner(const Node& node, const std::string& src) {
    const std::string scaled =
        write_.node("Div", {src, write_.real(std::numbers::sqrt2_v<float>)}, part(node, "scaled"));
    return write_.node("Erf", {scaled}, part(node, "erf"));
  }

  std::string gelu_tanh_inner(const Node& node, const std::string& src) {
    const float sqrt_2_over_pi = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
    const std::string cube = write_.node("Pow", {src, write_.real(3)}, part(node, "cube"));
    const std::string small =
        write_.node("Mul", {cube, write_.real(0.044715f)}, part(node, "small"));
    const std::string sum = write_.node("Add", {src, small}, part(node, "sum"));
    const std::string scaled =
        write_.node("Mul", {sum, write_.real(sqrt_2_over_pi)}, part(node, "scaled"));
    return write_.node("Tanh", {scaled}, part(node, "tanh"));
  }

  /// The mean over the tokens alone.
  Result<void> mean_pool(const Node& node) {
    constexpr float kFewest = 1e-9f;  // a sequence of padding alone gives zeros
    const std::string mask =
        write_.node("Unsqueeze", {real_mask(), write_.list({-1})}, part(node, "mask"));
    const std::string kept = write_.node("Mul", {name_of(node.input(0)), mask}, part(node, "kept"));
    const ModelWriter::Attributes drop{{"keepdims", Index{0}}};
    const std::string sum =
        write_.node("ReduceSum", {kept, write_.list({1})}, part(node, "sum"), drop);
    const std::string count =
        write_.node("ReduceSum", {mask, write_.list({1})}, part(node, "count"), drop);
    const std::string safe =
        write_.node("Clip", {count, write_.real(kFewest)}, part(node, "count_safe"));
    return finish(node, "Div", {sum, safe});
  }

  Result<void> l2_normalize(const Node& node) {
    constexpr float kSmallestNorm = 1e-12f;
    const std::string norm =
        write_.node("ReduceL2", {name_of(node.input(0))}, part(node, "norm"),
                    {{"axes", std::vector<Index>{-1}}, {"keepdims", Index{1}}});
    const std::string safe =
        write_.node("Clip", {norm, write_.real(kSmallestNorm)}, part(node, "norm_safe"));
    return finish(node, "Div", {name_of(node.input(0)), safe});
  }

  const ir::Graph& graph_;
  DynamicScale dynamic_scale_;
  ModelWriter write_;
  RelativeWriter relative_{write_};
  Names names_;  // of each value, once it is written
  std::map<std::pair<ValueId, bool>, std::string> constants_;
  std::string real_mask_;
  std::string mask_bias_;
  std::string causal_bias_;
  std::string seq_;
  std::string zero_;
};

}  // namespace

Result<std::vector<std::byte>> export_onnx(const ir::Graph& graph, const ExportOptions& options) {
  try {
    return Exporter(graph, options).run();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory"};
  }
}

}  // namespace rtai::onnx_io
