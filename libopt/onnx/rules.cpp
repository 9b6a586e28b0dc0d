// The operators of ONNX's default domain, old spellings rewritten to the newest.
#include "libopt/onnx/internal/rules.h"

#include "libopt/onnx/internal/attend.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

namespace rtai::onnx_io {
namespace {

using ir::kNoValue;
using ir::Op;
using ir::ValueId;

Op op_of(const SourceNode& node) {
  return ir::find_onnx_op(node.op_type())->op;
}

/// The node as it is, with other attributes and inputs.
Result<Values> same(const SourceNode& node,
                    Builder& build,
                    Values inputs,
                    ir::Attributes attributes) {
  return build.add_many(op_of(node), std::move(inputs), std::move(attributes),
                        std::max<std::size_t>(node.output_count(), 1));
}

// --- operators whose attributes mean the same in every version

enum class Kind { integer, flag, real, text, integers, ignored_flag };

struct AttributeRule {
  std::string_view op_type;
  std::string_view name;
  Kind kind;
};

constexpr auto kAttributes = std::to_array<AttributeRule>({
    {"ArgMax", "axis", Kind::integer},
    {"ArgMax", "keepdims", Kind::flag},
    {"ArgMax", "select_last_index", Kind::flag},
    {"Concat", "axis", Kind::integer},
    {"CumSum", "exclusive", Kind::flag},
    {"CumSum", "reverse", Kind::flag},
    {"CastLike", "round_mode", Kind::text},
    {"CastLike", "saturate", Kind::flag},
    {"Einsum", "equation", Kind::text},
    {"Flatten", "axis", Kind::integer},
    {"Gather", "axis", Kind::integer},
    {"GatherElements", "axis", Kind::integer},
    {"GatherND", "batch_dims", Kind::integer},
    {"Gelu", "approximate", Kind::text},
    {"Gemm", "alpha", Kind::real},
    {"Gemm", "beta", Kind::real},
    {"Gemm", "transA", Kind::flag},
    {"Gemm", "transB", Kind::flag},
    {"IsInf", "detect_negative", Kind::flag},
    {"IsInf", "detect_positive", Kind::flag},
    {"LayerNormalization", "axis", Kind::integer},
    {"LayerNormalization", "epsilon", Kind::real},
    {"LayerNormalization", "stash_type", Kind::ignored_flag},  // 1: statistics in f32, as here
    {"Mod", "fmod", Kind::flag},
    {"OneHot", "axis", Kind::integer},
    {"ScatterND", "reduction", Kind::text},
    {"Shape", "end", Kind::integer},
    {"Shape", "start", Kind::integer},
    {"Transpose", "perm", Kind::integers},
    {"Trilu", "upper", Kind::flag},
});

template <class T>
void keep(ir::Attributes& attributes, std::string_view name, const std::optional<T>& value) {
  if (value) attributes.set(std::string(name), *value);
}

Result<void> take(SourceNode& node, const AttributeRule& rule, ir::Attributes& attributes) {
  switch (rule.kind) {
    case Kind::integer: {
      RTAI_TRY(const auto value, node.integer(rule.name));
      keep(attributes, rule.name, value);
      return {};
    }
    case Kind::ignored_flag:
    case Kind::flag: {
      RTAI_TRY(const bool value, node.flag(rule.name, false));
      RTAI_TRY(const auto given, node.integer(rule.name));
      if (given && rule.kind == Kind::flag) attributes.set(std::string(rule.name), value ? 1 : 0);
      return {};
    }
    case Kind::real: {
      RTAI_TRY(const auto value, node.real(rule.name));
      keep(attributes, rule.name, value);
      return {};
    }
    case Kind::text: {
      RTAI_TRY(const auto value, node.text(rule.name));
      keep(attributes, rule.name, value);
      return {};
    }
    case Kind::integers: {
      RTAI_TRY(const auto value, node.integers(rule.name));
      keep(attributes, rule.name, value);
      return {};
    }
  }
  return {};
}

Result<Values> plain(SourceNode& node, Builder& build) {
  ir::Attributes attributes;
  for (const AttributeRule& rule : kAttributes) {
    if (rule.op_type == node.op_type()) RTAI_TRY_VOID(take(node, rule, attributes));
  }
  return same(node, build, node.inputs(), std::move(attributes));
}

// --- before opset 7, what broadcasts is said by attributes

constexpr Index kFirstThatBroadcasts = 7;

/// `axis` is where the dimensions of the second input stand among those of the first: at the end
/// if it is absent, as everywhere else.
Result<ValueId> aligned(Builder& build, ValueId first, ValueId second, Index axis) {
  const std::optional<Index> rank = build.fact(first).rank;
  const std::optional<Index> own_rank = build.fact(second).rank;
  if (!rank || !own_rank) {
    return Error{ErrorCode::unsupported, "attribute 'axis' with inputs of unknown ranks"};
  }
  const Index from_front = axis < 0 ? axis + *rank : axis;
  const Index last = *rank - *own_rank;
  if (from_front < 0 || from_front > last) {
    return invalid_input(
        fmt::format("axis {} for inputs of ranks {} and {}", axis, *rank, *own_rank));
  }
  if (from_front == last) return second;
  std::vector<std::int64_t> axes(static_cast<std::size_t>(last - from_front));
  std::iota(axes.begin(), axes.end(), *own_rank);
  return build.add(Op::unsqueeze, {second, build.list(axes)});
}

Result<Values> pairwise(SourceNode& node, Builder& build) {
  if (node.version() >= kFirstThatBroadcasts) return plain(node, build);
  RTAI_TRY_VOID(node.expect_inputs(2, 2));
  RTAI_TRY(const bool broadcasts, node.flag("broadcast", false));
  RTAI_TRY(const auto axis, node.integer("axis"));
  RTAI_TRY_VOID(node.integers("consumed_inputs"));  // about memory, not numbers
  ValueId second = node.input(1);
  if (broadcasts && axis) {
    RTAI_TRY(second, aligned(build, node.input(0), second, *axis));
  }
  return same(node, build, {node.input(0), second}, {});
}

Result<Values> gemm(SourceNode& node, Builder& build) {
  if (node.version() < kFirstThatBroadcasts) RTAI_TRY_VOID(node.flag("broadcast", false));
  return plain(node, build);
}

// --- constants and aliases

Result<Values> identity(SourceNode& node, Builder& /*build*/) {
  RTAI_TRY_VOID(node.expect_inputs(1, 1));
  return Values{node.input(0)};
}

Result<Values> constant(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(0, 0));
  RTAI_TRY(const auto value, node.tensor("value"));
  if (value) return Values{build.constant(*value)};
  RTAI_TRY(const auto integer, node.integer("value_int"));
  if (integer) return Values{build.scalar(*integer)};
  RTAI_TRY(const auto integers, node.integers("value_ints"));
  if (integers) return Values{build.list(*integers)};
  RTAI_TRY(const auto real, node.real("value_float"));
  if (real) return Values{build.real(*real, DType::f32)};
  RTAI_TRY(const auto reals, node.reals("value_floats"));
  if (reals) return Values{build.constant(ir::Tensor::from<float>({std::ssize(*reals)}, *reals))};
  RTAI_TRY_VOID(node.finish());  // names a value of another kind
  return invalid_input("a constant without a value");
}

Result<Values> constant_of_shape(SourceNode& node, Builder& build) {
  RTAI_TRY(const auto value, node.tensor("value"));
  if (value && value->elements() != 1) return invalid_input("attribute 'value' is not one number");
  ir::Attributes attributes;
  keep(attributes, "value", value);
  return same(node, build, node.inputs(), std::move(attributes));
}

/// Nothing is dropped when a model answers. A file exported in training mode says otherwise, but
/// that is hardly ever meant.
Result<Values> dropout(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 3));
  RTAI_TRY_VOID(node.real("ratio"));
  RTAI_TRY_VOID(node.integer("seed"));
  RTAI_TRY_VOID(node.flag("is_test", true));
  const ir::Tensor* training = node.has_input(2) ? build.constant_data(node.input(2)) : nullptr;
  const bool off = !node.has_input(2) ||
                   (training != nullptr && training->elements() == 1 && training->value(0) == 0);
  if (!off) {
    build.log().warning(
        fmt::format("node '{}': Dropout in training mode is taken as none", node.name()));
  }
  if (!node.wants_output(1)) return Values{node.input(0)};
  return build.add_many(Op::dropout, {node.input(0)}, {}, 2);
}

Result<Values> cast(SourceNode& node, Builder& build) {
  RTAI_TRY(const Index to, SourceNode::required(node.integer("to"), "to"));
  RTAI_TRY(const DType dtype, dtype_from_onnx(to));
  RTAI_TRY(const bool saturate, node.flag("saturate", true));
  RTAI_TRY(const auto round_mode, node.text("round_mode"));
  ir::Attributes attributes{{"to", std::string(dtype_name(dtype))}};
  if (ir::is_small_float(dtype)) {
    if (!saturate) attributes.set("saturate", 0);
    keep(attributes, "round_mode", round_mode);
  }
  return same(node, build, node.inputs(), std::move(attributes));
}

// --- attributes that became inputs

/// Input `at`, or the attribute of that name as a constant: which of them depends on the version.
Result<ValueId> list_operand(SourceNode& node,
                             Builder& build,
                             std::size_t at,
                             std::string_view name) {
  RTAI_TRY(const auto attribute, node.integers(name));
  if (!attribute) return node.input(at);
  if (node.has_input(at))
    return invalid_input(fmt::format("'{}' as an attribute and as an input", name));
  return build.list(*attribute);
}

Result<Values> with_axes(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 2));
  RTAI_TRY(const ValueId axes, list_operand(node, build, 1, "axes"));
  return same(node, build, {node.input(0), axes}, {});
}

Result<Values> reduction(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 2));
  RTAI_TRY(const ValueId axes, list_operand(node, build, 1, "axes"));
  RTAI_TRY(const bool keepdims, node.flag("keepdims", true));
  RTAI_TRY(const bool noop, node.flag("noop_with_empty_axes", false));
  ir::Attributes attributes{{"keepdims", keepdims ? 1 : 0}};
  if (noop) attributes.set("noop_with_empty_axes", 1);
  return same(node, build, {node.input(0), axes}, std::move(attributes));
}

Result<Values> reshape(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 2));
  RTAI_TRY(const ValueId shape, list_operand(node, build, 1, "shape"));
  RTAI_TRY(const bool zero_is_zero, node.flag("allowzero", false));
  ir::Attributes attributes;
  if (zero_is_zero) attributes.set("allowzero", 1);
  return same(node, build, {node.input(0), shape}, std::move(attributes));
}

Result<Values> slice(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 5));
  RTAI_TRY(const ValueId starts, list_operand(node, build, 1, "starts"));
  RTAI_TRY(const ValueId ends, list_operand(node, build, 2, "ends"));
  RTAI_TRY(const ValueId axes, list_operand(node, build, 3, "axes"));
  return same(node, build, {node.input(0), starts, ends, axes, node.input(4)}, {});
}

Result<Values> split(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 2));
  RTAI_TRY(const ValueId sizes, list_operand(node, build, 1, "split"));
  RTAI_TRY(const auto axis, node.integer("axis"));
  RTAI_TRY(const auto parts, node.integer("num_outputs"));
  const auto outputs = static_cast<Index>(node.output_count());
  if (parts && *parts != outputs) {
    return invalid_input(fmt::format("num_outputs is {}, the node has {}", *parts, outputs));
  }
  return same(node, build, {node.input(0), sizes}, {{"axis", axis.value_or(0)}});
}

Result<Values> clip(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 3));
  Values inputs = {node.input(0), node.input(1), node.input(2)};
  constexpr std::array<std::string_view, 2> kLimits = {"min", "max"};
  for (std::size_t i = 0; i < kLimits.size(); ++i) {
    RTAI_TRY(const auto limit, node.real(kLimits[i]));
    if (!limit) continue;
    if (node.has_input(i + 1)) return invalid_input("a limit as an attribute and as an input");
    inputs[i + 1] = build.real(*limit, build.fact(node.input(0)).dtype);
  }
  return same(node, build, std::move(inputs), {});
}

Result<Values> pad(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 4));
  RTAI_TRY(const ValueId pads,
           list_operand(node, build, 1, node.version() < 2 ? "paddings" : "pads"));
  RTAI_TRY(const auto value, node.real("value"));
  RTAI_TRY(const auto mode, node.text("mode"));
  ValueId fill = node.input(2);
  if (value) {
    if (fill != kNoValue) return invalid_input("'value' as an attribute and as an input");
    fill = build.real(*value, build.fact(node.input(0)).dtype);
  }
  return same(node, build, {node.input(0), pads, fill, node.input(3)},
              {{"mode", mode.value_or("constant")}});
}

// --- softmax

/// Before opset 13, the dimensions from `axis` on count as one: the same if it is the last, else
/// the tensor is seen as a matrix for the while.
Result<Values> softmax(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(1, 1));
  RTAI_TRY(const auto given, node.integer("axis"));
  const ValueId src = node.input(0);
  constexpr Index kFirstWithPlainAxis = 13;
  if (node.version() >= kFirstWithPlainAxis) {
    return same(node, build, {src}, {{"axis", given.value_or(-1)}});
  }
  const Index axis = given.value_or(1);
  if (axis == -1 || build.fact(src).rank == axis + 1)
    return same(node, build, {src}, {{"axis", -1}});
  RTAI_TRY(const ValueId shape, build.add(Op::shape, {src}));
  RTAI_TRY(const ValueId matrix, build.add(Op::flatten, {src}, {{"axis", axis}}));
  RTAI_TRY(const ValueId result, build.add(op_of(node), {matrix}, {{"axis", -1}}));
  return one(build.add(Op::reshape, {result, shape}));
}

// --- quantization

Result<Values> quantization(SourceNode& node, Builder& build) {
  RTAI_TRY(const auto axis, node.integer("axis"));
  RTAI_TRY(const auto block_size, node.integer("block_size"));
  RTAI_TRY(const auto output_dtype, node.integer("output_dtype"));
  RTAI_TRY(const bool saturate, node.flag("saturate", true));
  ir::Attributes attributes;
  keep(attributes, "axis", axis);
  if (!saturate) attributes.set("saturate", 0);
  if (block_size.value_or(0) != 0) attributes.set("block_size", *block_size);
  if (output_dtype.value_or(0) == 0) return same(node, build, node.inputs(), std::move(attributes));

  RTAI_TRY(const DType dtype, dtype_from_onnx(*output_dtype));
  const std::string name(dtype_name(dtype));
  if (op_of(node) == Op::quantize_linear) {
    attributes.set("output_dtype", name);
    return same(node, build, node.inputs(), std::move(attributes));
  }
  RTAI_TRY(const ValueId real, build.add(op_of(node), node.inputs(), std::move(attributes)));
  return one(build.add(Op::cast, {real}, {{"to", name}}));
}

constexpr auto kOnnxRules = std::to_array<NamedRule>({
    {"Add", &pairwise},
    {"And", &pairwise},
    {"Attention", &attention_of_onnx},
    {"Cast", &cast},
    {"Clip", &clip},
    {"Constant", &constant},
    {"ConstantOfShape", &constant_of_shape},
    {"DequantizeLinear", &quantization},
    {"Div", &pairwise},
    {"Dropout", &dropout},
    {"Equal", &pairwise},
    {"Gemm", &gemm},
    {"Greater", &pairwise},
    {"Identity", &identity},
    {"Less", &pairwise},
    {"LogSoftmax", &softmax},
    {"Mul", &pairwise},
    {"Or", &pairwise},
    {"Pad", &pad},
    {"Pow", &pairwise},
    {"QuantizeLinear", &quantization},
    {"ReduceL2", &reduction},
    {"ReduceMax", &reduction},
    {"ReduceMean", &reduction},
    {"ReduceMin", &reduction},
    {"ReduceProd", &reduction},
    {"ReduceSum", &reduction},
    {"ReduceSumSquare", &reduction},
    {"Reshape", &reshape},
    {"Slice", &slice},
    {"Softmax", &softmax},
    {"Split", &split},
    {"Squeeze", &with_axes},
    {"Sub", &pairwise},
    {"Unsqueeze", &with_axes},
    {"Xor", &pairwise},
});

}  // namespace

Rule find_rule(std::string_view op_type) {
  if (const Rule rule = find_among(kOnnxRules, op_type)) return rule;
  if (op_type == "QLinearMatMul") return find_quantized_rule(op_type);
  return ir::find_onnx_op(op_type) == nullptr ? nullptr : &plain;
}

}  // namespace rtai::onnx_io
