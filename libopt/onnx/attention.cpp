// ONNX's own Attention: masks, grouped heads, a past, and what it shows of its scores.
#include "libopt/onnx/internal/attend.h"

#include <fmt/format.h>

#include <limits>
#include <optional>
#include <vector>

namespace rtai::onnx_io {
namespace {

using ir::kNoValue;
using ir::Op;
using ir::ValueId;

constexpr float kHidden = -std::numeric_limits<float>::infinity();

enum Input : std::size_t { q, k, v, mask, past_key, past_value, real_keys };

std::optional<Index> heads_of(Builder& build, ValueId value) {
  const auto& dims = build.graph().type(value).dims;
  const bool known = dims && dims->size() == 4 && (*dims)[1].is_fixed();
  return known ? std::optional((*dims)[1].size) : std::nullopt;
}

/// Keys or values with each head as often as several heads of queries share it. Where sizes do not
/// say so, running the model finds products that do not fit.
Result<ValueId> share_heads(Builder& build,
                            ValueId heads,
                            std::optional<Index> q_heads,
                            std::optional<Index> kv_heads) {
  constexpr Index kMostHeads = 1 << 16;
  if (!q_heads || !kv_heads || q_heads == kv_heads) return heads;
  if (*kv_heads < 1 || *q_heads % *kv_heads != 0 || *q_heads > kMostHeads)
    return invalid_input(fmt::format("{} heads of queries for {} of keys", *q_heads, *kv_heads));
  std::vector<std::int64_t> shared;
  for (Index head = 0; head < *q_heads; ++head)
    shared.push_back(head / (*q_heads / *kv_heads));
  return build.add(Op::gather, {heads, build.list(shared)}, {{"axis", 1}});
}

/// What hides keys: 0 or -infinity, or nothing.
Result<ValueId> bias_of(const SourceNode& node, Builder& build, const AttentionParts& parts) {
  const DType dtype = build.fact(parts.q).dtype;
  ValueId bias = node.input(mask);
  if (bias != kNoValue && build.fact(bias).dtype == DType::boolean) {
    RTAI_TRY(bias, mask_bias(build, bias, kHidden, dtype));
  }
  if (!node.has_input(real_keys)) return bias;
  RTAI_TRY(const ValueId keys, axis_size(build, parts.k, 2));
  if (bias != kNoValue) {  // a mask may leave out the last keys, which are hidden then
    RTAI_TRY(const ValueId length, axis_size(build, bias, -1));
    RTAI_TRY(const ValueId missing, build.add(Op::sub, {keys, length}));
    RTAI_TRY(const ValueId last, build.add(Op::reshape, {missing, build.list({1})}));
    RTAI_TRY(const ValueId pads, build.add(Op::concat, {build.list({0}), last}, {{"axis", 0}}));
    RTAI_TRY(bias, build.add(Op::pad, {bias, pads, build.real(kHidden, dtype), build.list({-1})}));
  }
  RTAI_TRY(const ValueId places, build.add(Op::range, {build.scalar(0), keys, build.scalar(1)}));
  RTAI_TRY(const ValueId counts,
           build.add(Op::reshape, {node.input(real_keys), build.list({-1, 1, 1, 1})}));
  RTAI_TRY(const ValueId keep, build.add(Op::less, {places, counts}));
  RTAI_TRY(const ValueId padding, mask_bias(build, keep, kHidden, dtype));
  return bias == kNoValue ? Result<ValueId>(padding) : build.add(Op::add, {bias, padding});
}

/// Earlier keys or values before the new ones.
Result<ValueId> after_past(Builder& build, ValueId past, ValueId heads) {
  if (past == kNoValue) return heads;
  return build.add(Op::concat, {past, heads}, {{"axis", 2}});
}

}  // namespace

/// Outputs: the rows, keys and values with the past, scores as `qk_matmul_output_mode` says.
Result<Values> attention_of_onnx(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(3, 7));
  RTAI_TRY(const bool causal, node.flag("is_causal", false));
  RTAI_TRY(const auto scale, node.real("scale"));
  RTAI_TRY(const auto softcap, node.real("softcap"));
  RTAI_TRY(auto q_heads, node.integer("q_num_heads"));
  RTAI_TRY(auto kv_heads, node.integer("kv_num_heads"));
  RTAI_TRY(const auto mode, node.integer("qk_matmul_output_mode"));
  RTAI_TRY_VOID(node.integer("softmax_precision"));  // never below f32 here
  const std::optional<Index> rank = build.fact(node.input(q)).rank;
  if (rank && rank != 3 && rank != 4)
    return Error{ErrorCode::unsupported, "an operand of this rank is not supported"};

  AttentionParts parts{.q = node.input(q), .k = node.input(k), .v = node.input(v), .scale = scale};
  const bool has_rows = rank ? rank == 3 : q_heads.has_value();  // which must say how many heads
  if (has_rows) {
    if (q_heads.value_or(0) < 1 || kv_heads.value_or(0) < 1)
      return invalid_input("attributes 'q_num_heads' and 'kv_num_heads' must be positive");
    RTAI_TRY(parts.q, split_heads(build, parts.q, *q_heads));
    RTAI_TRY(parts.k, split_heads(build, parts.k, *kv_heads));
    RTAI_TRY(parts.v, split_heads(build, parts.v, *kv_heads));
  } else {
    q_heads = heads_of(build, parts.q);
    kv_heads = heads_of(build, parts.k);
  }
  RTAI_TRY(const ValueId keys, after_past(build, node.input(past_key), parts.k));
  RTAI_TRY(const ValueId values, after_past(build, node.input(past_value), parts.v));
  if (node.has_input(past_key)) {
    RTAI_TRY(parts.past, axis_size(build, node.input(past_key), 2));
  }
  RTAI_TRY(parts.k, share_heads(build, keys, q_heads, kv_heads));
  RTAI_TRY(parts.v, share_heads(build, values, q_heads, kv_heads));
  parts.softcap = softcap.value_or(0);
  parts.causal = causal;
  parts.hidden_score = kHidden;
  RTAI_TRY(parts.bias, bias_of(node, build, parts));
  parts.zero_if_all_hidden = causal || parts.bias != kNoValue;
  RTAI_TRY(const Attended made, attend(build, parts));
  RTAI_TRY(const ValueId rows, has_rows ? merge_heads(build, made.context) : made.context);
  const Values shown = {made.product, made.capped, made.biased, made.weights};
  const auto last = static_cast<std::size_t>(mode.value_or(0));
  if (last >= shown.size())
    return invalid_input(fmt::format("'qk_matmul_output_mode' is {}", last));
  return Values{rows, keys, values, shown[last]};
}

}  // namespace rtai::onnx_io
