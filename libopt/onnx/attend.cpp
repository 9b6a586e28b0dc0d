#include "libopt/onnx/internal/attend.h"

namespace rtai::onnx_io {
namespace {

using ir::Op;
using ir::ValueId;

/// The size of one axis: an i64 scalar
Result<ValueId> axis_size(Builder& build, ValueId src, Index axis) {
  RTAI_TRY(const ValueId dims, build.add(Op::shape, {src}));
  return build.add(Op::gather, {dims, build.scalar(axis)}, {{"axis", 0}});
}

/// 0, 1, ... as many as an axis is long
Result<ValueId> places(Builder& build, ValueId src, Index axis) {
  RTAI_TRY(const ValueId size, axis_size(build, src, axis));
  return build.add(Op::range, {build.scalar(0), size, build.scalar(1)});
}

Result<ValueId> scale_of(Builder& build, const AttentionParts& parts) {
  const DType dtype = build.fact(parts.q).dtype;
  if (parts.scale) return build.real(*parts.scale, dtype);
  RTAI_TRY(const ValueId head_dim, axis_size(build, parts.q, 3));
  RTAI_TRY(const ValueId real,
           build.add(Op::cast, {head_dim}, {{"to", std::string(dtype_name(dtype))}}));
  RTAI_TRY(const ValueId root, build.add(Op::sqrt, {real}));
  return build.add(Op::reciprocal, {root});
}

/// [seq, keys]
Result<ValueId> causal_bias(Builder& build, const AttentionParts& parts) {
  RTAI_TRY(const ValueId keys, places(build, parts.k, 2));
  RTAI_TRY(const ValueId queries, places(build, parts.q, 2));
  RTAI_TRY(const ValueId rows, build.add(Op::unsqueeze, {queries, build.list({1})}));
  RTAI_TRY(const ValueId keep, build.add(Op::less_or_equal, {keys, rows}));
  return mask_bias(build, keep, parts.hidden_score, build.fact(parts.q).dtype);
}

}  // namespace

Result<ValueId> split_heads(Builder& build, ValueId rows, Index heads) {
  RTAI_TRY(const ValueId split, build.add(Op::reshape, {rows, build.list({0, 0, heads, -1})}));
  return build.add(Op::transpose, {split}, {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}});
}

Result<ValueId> merge_heads(Builder& build, ValueId heads) {
  RTAI_TRY(const ValueId rows,
           build.add(Op::transpose, {heads}, {{"perm", std::vector<std::int64_t>{0, 2, 1, 3}}}));
  return build.add(Op::reshape, {rows, build.list({0, 0, -1})});
}

Result<ValueId> mask_bias(Builder& build, ValueId keep, float hidden, DType dtype) {
  return build.add(Op::where, {keep, build.real(0, dtype), build.real(hidden, dtype)});
}

Result<ValueId> attend(Builder& build, const AttentionParts& parts) {
  const DType dtype = build.fact(parts.q).dtype;
  RTAI_TRY(const ValueId turned,
           build.add(Op::transpose, {parts.k}, {{"perm", std::vector<std::int64_t>{0, 1, 3, 2}}}));
  RTAI_TRY(const ValueId product, build.add(Op::matmul, {parts.q, turned}));
  RTAI_TRY(const ValueId scale, scale_of(build, parts));
  RTAI_TRY(ValueId scores, build.add(Op::mul, {product, scale}));
  if (parts.softcap != 0) {
    RTAI_TRY(const ValueId small, build.add(Op::div, {scores, build.real(parts.softcap, dtype)}));
    RTAI_TRY(const ValueId bent, build.add(Op::tanh, {small}));
    RTAI_TRY(scores, build.add(Op::mul, {bent, build.real(parts.softcap, dtype)}));
  }
  if (parts.bias != ir::kNoValue) {
    RTAI_TRY(scores, build.add(Op::add, {scores, parts.bias}));
  }
  if (parts.causal) {
    RTAI_TRY(const ValueId hidden, causal_bias(build, parts));
    RTAI_TRY(scores, build.add(Op::add, {scores, hidden}));
  }
  RTAI_TRY(ValueId weights, build.add(Op::softmax, {scores}, {{"axis", -1}}));
  if (parts.zero_if_all_hidden) {
    RTAI_TRY(const ValueId undefined, build.add(Op::is_nan, {weights}));
    RTAI_TRY(weights, build.add(Op::where, {undefined, build.real(0, dtype), weights}));
  }
  return build.add(Op::matmul, {weights, parts.v});
}

}  // namespace rtai::onnx_io
