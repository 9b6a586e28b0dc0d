// The operators that ONNX Runtime's optimizer fuses BERT into, taken apart again: everything
// downstream sees one spelling.
//
// Meaning: ContribOperators.md of ONNX Runtime 1.20.
#include "libopt/onnx/internal/contrib.h"

#include "libopt/onnx/internal/attend.h"
#include "libopt/onnx/internal/rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>

namespace rtai::onnx_io {
namespace {

using ir::kNoValue;
using ir::Op;
using ir::ValueId;

Error missing(std::string_view what) {
  return unsupported(fmt::format("{} is not supported", what));
}

Result<void> expect_no_input(const SourceNode& node,
                             std::size_t first,
                             std::size_t last,
                             std::string_view what) {
  for (std::size_t i = first; i <= last; ++i) {
    if (node.has_input(i)) return missing(what);
  }
  return {};
}

/// src, or src + addend if there is one
Result<ValueId> add_if_given(Builder& build, ValueId src, ValueId addend) {
  if (addend == kNoValue) return src;
  return build.add(Op::add, {src, addend});
}

Result<ValueId> cast(Builder& build, ValueId src, DType dtype) {
  return build.add(Op::cast, {src}, {{"to", std::string(dtype_name(dtype))}});
}

// --- activations

Result<ValueId> gelu_of(Builder& build, ValueId src, std::string approximate) {
  return build.add(Op::gelu, {src}, {{"approximate", std::move(approximate)}});
}

/// gelu(src + bias)
Result<Values> bias_gelu(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 2));
  RTAI_TRY(const ValueId sum, add_if_given(build, node.input(0), node.input(1)));
  return one(gelu_of(build, sum, "none"));
}

Result<Values> fast_gelu(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 2));
  RTAI_TRY(const ValueId sum, add_if_given(build, node.input(0), node.input(1)));
  return one(gelu_of(build, sum, "tanh"));
}

/// fast_gelu(src weight + bias)
Result<Values> gemm_fast_gelu(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(2, 3));
  RTAI_TRY(const ValueId product, build.add(Op::matmul, {node.input(0), node.input(1)}));
  RTAI_TRY(const ValueId sum, add_if_given(build, product, node.input(2)));
  return one(gelu_of(build, sum, "tanh"));
}

/// src * sigmoid(alpha * src)
Result<Values> quick_gelu(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 1));
  RTAI_TRY(const auto alpha, node.real("alpha"));
  const ValueId src = node.input(0);
  RTAI_TRY(const ValueId scaled,
           build.add(Op::mul, {src, build.real(alpha.value_or(1.702f), build.fact(src).dtype)}));
  RTAI_TRY(const ValueId gate, build.add(Op::sigmoid, {scaled}));
  return one(build.add(Op::mul, {src, gate}));
}

// --- matrices

Result<ValueId> swap_last_axes(Builder& build, ValueId src) {
  const std::optional<Index> rank = build.fact(src).rank;
  if (!rank || *rank < 2) return missing("a transposed operand of unknown rank");
  std::vector<std::int64_t> perm;
  for (Index i = 0; i < *rank; ++i)
    perm.push_back(i);
  std::swap(perm.end()[-1], perm.end()[-2]);
  return build.add(Op::transpose, {src}, {{"perm", perm}});
}

/// alpha * a b, either side transposed
Result<Values> fused_matmul(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(2, 2));
  RTAI_TRY(const auto alpha, node.real("alpha"));
  Values operands = node.inputs();
  constexpr std::array<std::string_view, 2> kTransposed = {"transA", "transB"};
  constexpr std::array<std::string_view, 2> kBatches = {"transBatchA", "transBatchB"};
  for (std::size_t i = 0; i < operands.size(); ++i) {
    RTAI_TRY(const bool batches, node.flag(kBatches[i], false));
    if (batches) return missing(kBatches[i]);
    RTAI_TRY(const bool transposed, node.flag(kTransposed[i], false));
    if (!transposed) continue;
    RTAI_TRY(operands[i], swap_last_axes(build, operands[i]));
  }
  RTAI_TRY(const ValueId product, build.add(Op::matmul, operands));
  if (alpha.value_or(1.0f) == 1.0f) return Values{product};
  return one(build.add(Op::mul, {product, build.real(*alpha, build.fact(product).dtype)}));
}

// --- layer normalization

/// LayerNormalization over the last axis, with outputs `result`, mean and 1 / deviation.
Result<Values> normalize(
    Builder& build, ValueId src, ValueId weight, ValueId bias, float epsilon, std::size_t outputs) {
  return build.add_many(Op::layer_normalization, {src, weight, bias},
                        {{"axis", -1}, {"epsilon", epsilon}}, outputs);
}

constexpr float kEpsilon = 1e-12f;  // the default of both operators below

/// Outputs: LayerNormalization(src + skip + bias), mean, 1 / deviation, the sum.
Result<Values> skip_layer_normalization(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(3, 5));
  RTAI_TRY(const auto epsilon, node.real("epsilon"));
  RTAI_TRY(const ValueId skipped, build.add(Op::add, {node.input(0), node.input(1)}));
  RTAI_TRY(const ValueId sum, add_if_given(build, skipped, node.input(4)));
  const bool statistics = node.wants_output(1) || node.wants_output(2);
  RTAI_TRY(Values results, normalize(build, sum, node.input(2), node.input(3),
                                     epsilon.value_or(kEpsilon), statistics ? 3 : 1));
  results.resize(3, kNoValue);
  results.push_back(sum);
  return results;
}

/// The rows of the position table: those of the ids, or the first of each sequence.
Result<ValueId> position_rows(Builder& build, const EmbeddingParts& parts) {
  if (parts.position_ids != kNoValue)
    return build.add(Op::gather, {parts.position, parts.position_ids}, {{"axis", 0}});
  RTAI_TRY(const ValueId dims, build.add(Op::shape, {parts.ids}));
  RTAI_TRY(const ValueId seq, build.add(Op::gather, {dims, build.scalar(1)}, {{"axis", 0}}));
  RTAI_TRY(const ValueId places, build.add(Op::range, {build.scalar(0), seq, build.scalar(1)}));
  return build.add(Op::gather, {parts.position, places}, {{"axis", 0}});
}

/// How many tokens of each sequence are not padding: i32[batch]
Result<ValueId> mask_lengths(Builder& build, ValueId mask) {
  RTAI_TRY(const ValueId ones,
           build.add(Op::equal, {mask, build.constant(ir::Tensor::scalar<std::int32_t>(1))}));
  RTAI_TRY(const ValueId counts, cast(build, ones, DType::i32));
  return build.add(Op::reduce_sum, {counts, build.list({1})}, {{"keepdims", 0}});
}

/// Inputs: ids, segments, word, position, segment, weight, bias, mask, position ids.
Result<Values> embed_layer_normalization(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 9));
  return embed(node, build,
               {.ids = node.input(0),
                .segments = node.input(1),
                .word = node.input(2),
                .position = node.input(3),
                .segment = node.input(4),
                .weight = node.input(5),
                .bias = node.input(6),
                .mask = node.input(7),
                .position_ids = node.input(8)});
}

// --- attention

/// What a mask adds to the scores [batch, heads, seq, keys], by its rank:
/// 1: how many keys each sequence has; 2, 3: which keys count, for all queries or for each.
Result<ValueId> padding_bias(
    Builder& build, ValueId mask, ValueId keys, float hidden, DType dtype) {
  const std::optional<Index> rank = build.fact(mask).rank;
  if (!rank || *rank < 1 || *rank > 3) return missing("a mask of this rank");
  RTAI_TRY(const ValueId wide, cast(build, mask, DType::i64));
  if (*rank == 1) {
    RTAI_TRY(const ValueId dims, build.add(Op::shape, {keys}));
    RTAI_TRY(const ValueId count, build.add(Op::gather, {dims, build.scalar(2)}, {{"axis", 0}}));
    RTAI_TRY(const ValueId places, build.add(Op::range, {build.scalar(0), count, build.scalar(1)}));
    // As many lengths as sequences: other layouts of the mask fail here instead of broadcasting.
    RTAI_TRY(const ValueId batch, build.add(Op::shape, {keys}, {{"end", 1}}));
    RTAI_TRY(const ValueId dims_of_lengths,
             build.add(Op::concat, {batch, build.list({1, 1, 1})}, {{"axis", 0}}));
    RTAI_TRY(const ValueId lengths, build.add(Op::reshape, {wide, dims_of_lengths}));
    RTAI_TRY(const ValueId keep, build.add(Op::less, {places, lengths}));
    return mask_bias(build, keep, hidden, dtype);
  }
  RTAI_TRY(const ValueId keep, build.add(Op::greater, {wide, build.scalar(0)}));
  RTAI_TRY(const ValueId four,
           build.add(Op::unsqueeze, {keep, build.list(*rank == 2 ? std::vector<std::int64_t>{1, 2}
                                                                 : std::vector<std::int64_t>{1})}));
  return mask_bias(build, four, hidden, dtype);
}

/// The attributes that both attention operators have.
struct AttentionAttributes {
  Index heads = 0;
  std::optional<float> scale;
  float hidden_score = 0;
  bool causal = false;
};

Result<AttentionAttributes> attention_attributes(SourceNode& node) {
  AttentionAttributes attributes;
  RTAI_TRY(attributes.heads, SourceNode::required(node.integer("num_heads"), "num_heads"));
  if (attributes.heads < 1)
    return invalid_input(fmt::format("attribute 'num_heads' is {}", attributes.heads));
  RTAI_TRY(attributes.scale, node.real("scale"));
  if (attributes.scale == 0.0f) attributes.scale.reset();
  RTAI_TRY(const auto hidden, node.real("mask_filter_value"));
  attributes.hidden_score = hidden.value_or(-10000.0f);
  RTAI_TRY(attributes.causal, node.flag("unidirectional", false));
  return attributes;
}

/// Rows of q, k and v to rows of the result.
Result<ValueId> attention_rows(Builder& build,
                               const AttentionAttributes& attributes,
                               const Values& rows,
                               ValueId mask,
                               ValueId bias) {
  AttentionParts parts{.q = kNoValue,
                       .k = kNoValue,
                       .v = kNoValue,
                       .scale = attributes.scale,
                       .causal = attributes.causal,
                       .hidden_score = std::numeric_limits<float>::lowest()};
  RTAI_TRY(parts.q, split_heads(build, rows[0], attributes.heads));
  RTAI_TRY(parts.k, split_heads(build, rows[1], attributes.heads));
  RTAI_TRY(parts.v, split_heads(build, rows[2], attributes.heads));
  const DType dtype = build.fact(rows[0]).dtype;
  if (dtype == DType::f16) parts.hidden_score = -65504.0f;
  parts.bias = bias;
  if (mask != kNoValue) {
    RTAI_TRY(const ValueId padding,
             padding_bias(build, mask, parts.k, attributes.hidden_score, dtype));
    RTAI_TRY(parts.bias, add_if_given(build, padding, bias));
  }
  RTAI_TRY(const Attended made, attend(build, parts));
  return merge_heads(build, made.context);
}

/// Inputs: src, weight of q, k and v side by side, bias, mask, past, attention bias.
Result<Values> attention(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(2, 6));
  RTAI_TRY_VOID(expect_no_input(node, 4, 4, "attention with a past"));
  RTAI_TRY(const ValueId product, build.add(Op::matmul, {node.input(0), node.input(1)}));
  RTAI_TRY(const ValueId rows, add_if_given(build, product, node.input(2)));
  return attend_to(node, build, rows, node.input(3), node.input(5));
}

/// Inputs: q, k, v, their bias side by side, mask, attention bias, past.
Result<Values> multi_head_attention(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(3, 8));
  RTAI_TRY_VOID(expect_no_input(node, 6, 7, "attention with a past"));
  if (node.output_count() > 1) return missing("the output 'present_key'");
  RTAI_TRY(const AttentionAttributes attributes, attention_attributes(node));
  Values rows = {node.input(0), node.input(1), node.input(2)};
  for (const ValueId operand : rows) {
    if (build.fact(operand).rank != 3)
      return missing("an operand that is not [batch, seq, hidden]");
  }
  if (node.has_input(3)) {
    RTAI_TRY(const Values biases, build.add_many(Op::split, {node.input(3)}, {{"axis", 0}}, 3));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      RTAI_TRY(rows[i], build.add(Op::add, {rows[i], biases[i]}));
    }
  }
  return one(attention_rows(build, attributes, rows, node.input(4), node.input(5)));
}

}  // namespace

Result<Values> embed(SourceNode& node, Builder& build, const EmbeddingParts& parts) {
  RTAI_TRY(const auto epsilon, node.real("epsilon"));
  RTAI_TRY_VOID(node.integer("mask_index_type"));
  RTAI_TRY(const ValueId words, build.add(Op::gather, {parts.word, parts.ids}, {{"axis", 0}}));
  RTAI_TRY(const ValueId positions, position_rows(build, parts));
  RTAI_TRY(ValueId sum, build.add(Op::add, {words, positions}));
  if (parts.segments != kNoValue) {
    RTAI_TRY(const ValueId segments,
             build.add(Op::gather, {parts.segment, parts.segments}, {{"axis", 0}}));
    RTAI_TRY(sum, build.add(Op::add, {sum, segments}));
  }
  RTAI_TRY(Values results,
           normalize(build, sum, parts.weight, parts.bias, epsilon.value_or(kEpsilon), 1));
  results.resize(3, kNoValue);
  results[2] = sum;
  if (!node.wants_output(1)) return results;
  if (parts.mask == kNoValue) return missing("the lengths of a mask that is not given");
  RTAI_TRY(results[1], mask_lengths(build, parts.mask));
  return results;
}

Result<Values> attend_to(
    SourceNode& node, Builder& build, ValueId qkv, ValueId mask, ValueId bias) {
  if (node.wants_output(1)) return missing("the output 'present'");
  RTAI_TRY(const AttentionAttributes attributes, attention_attributes(node));
  RTAI_TRY(const auto sizes, node.integers("qkv_hidden_sizes"));
  if (sizes && sizes->size() != 3)
    return invalid_input("attribute 'qkv_hidden_sizes' does not have three sizes");
  RTAI_TRY(
      const Values rows,
      build.add_many(Op::split, {qkv, sizes ? build.list(*sizes) : kNoValue}, {{"axis", -1}}, 3));
  return one(attention_rows(build, attributes, rows, mask, bias));
}

namespace {

constexpr auto kContribRules = std::to_array<NamedRule>({
    {"Attention", &attention},
    {"BiasGelu", &bias_gelu},
    {"EmbedLayerNormalization", &embed_layer_normalization},
    {"FastGelu", &fast_gelu},
    {"FusedMatMul", &fused_matmul},
    {"Gelu", &bias_gelu},
    {"GemmFastGelu", &gemm_fast_gelu},
    {"MultiHeadAttention", &multi_head_attention},
    {"QuickGelu", &quick_gelu},
    {"SkipLayerNormalization", &skip_layer_normalization},
});

}  // namespace

Rule find_contrib_rule(std::string_view op_type) {
  if (const Rule rule = find_among(kContribRules, op_type)) return rule;
  if (const Rule rule = find_quantized_rule(op_type)) return rule;
  // The same operators as in the default domain, there before they were.
  constexpr std::array<std::string_view, 3> kSame = {"QuantizeLinear", "DequantizeLinear",
                                                     "LayerNormalization"};
  return std::ranges::find(kSame, op_type) == kSame.end() ? nullptr : find_rule(op_type);
}

}  // namespace rtai::onnx_io
