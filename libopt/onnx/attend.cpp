#include "libopt/onnx/internal/attend.h"

namespace rtai::onnx_io {
namespace {

using ir::Op;
using ir::ValueId;

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
  RTAI_TRY(ValueId rows, build.add(Op::unsqueeze, {queries, build.list({1})}));
  if (parts.past != ir::kNoValue) {
    RTAI_TRY(rows, build.add(Op::add, {rows, parts.past}));
  }
  RTAI_TRY(const ValueId keep, build.add(Op::less_or_equal, {keys, rows}));
  return mask_bias(build, keep, parts.hidden_score, build.fact(parts.q).dtype);
}

}  // namespace

Result<ValueId> axis_size(Builder& build, ValueId src, Index axis) {
  RTAI_TRY(const ValueId dims, build.add(Op::shape, {src}));
  return build.add(Op::gather, {dims, build.scalar(axis)}, {{"axis", 0}});
}

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

Result<Attended> attend(Builder& build, const AttentionParts& parts) {
  const DType dtype = build.fact(parts.q).dtype;
  Attended made{};
  RTAI_TRY(const ValueId turned,
           build.add(Op::transpose, {parts.k}, {{"perm", std::vector<std::int64_t>{0, 1, 3, 2}}}));
  RTAI_TRY(const ValueId product, build.add(Op::matmul, {parts.q, turned}));
  RTAI_TRY(const ValueId scale, scale_of(build, parts));
  RTAI_TRY(made.product, build.add(Op::mul, {product, scale}));
  made.capped = made.product;
  if (parts.softcap != 0) {
    RTAI_TRY(const ValueId small,
             build.add(Op::div, {made.product, build.real(parts.softcap, dtype)}));
    RTAI_TRY(const ValueId bent, build.add(Op::tanh, {small}));
    RTAI_TRY(made.capped, build.add(Op::mul, {bent, build.real(parts.softcap, dtype)}));
  }
  made.biased = made.capped;
  if (parts.bias != ir::kNoValue) {
    RTAI_TRY(made.biased, build.add(Op::add, {made.biased, parts.bias}));
  }
  if (parts.causal) {
    RTAI_TRY(const ValueId hidden, causal_bias(build, parts));
    RTAI_TRY(made.biased, build.add(Op::add, {made.biased, hidden}));
  }
  RTAI_TRY(made.weights, build.add(Op::softmax, {made.biased}, {{"axis", -1}}));
  if (parts.zero_if_all_hidden) {
    RTAI_TRY(const ValueId undefined, build.add(Op::is_nan, {made.weights}));
    RTAI_TRY(made.weights, build.add(Op::where, {undefined, build.real(0, dtype), made.weights}));
  }
  RTAI_TRY(made.context, build.add(Op::matmul, {made.weights, parts.v}));
  return made;
}

}  // namespace rtai::onnx_io
