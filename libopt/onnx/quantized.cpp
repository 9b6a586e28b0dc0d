// Operators on quantized values, taken apart into dequantize_linear, the operator on real numbers
// and quantize_linear, or into a product of integers: everything downstream sees one spelling.
//
// Meaning: ContribOperators.md of ONNX Runtime 1.20; QLinearMatMul: opset 21.
#include "libopt/onnx/internal/contrib.h"
#include "libopt/onnx/internal/rules.h"

#include <algorithm>
#include <array>

namespace rtai::onnx_io {
namespace {

using ir::kNoValue;
using ir::Op;
using ir::ValueId;

/// Quantized value, scale and zero point; along the last axis where there are several scales.
Result<ValueId> dequantize(Builder& build, ValueId value, ValueId scale, ValueId zero) {
  return build.add(Op::dequantize_linear, {value, scale, zero}, {{"axis", -1}});
}
Result<ValueId> quantize(Builder& build, ValueId value, ValueId scale, ValueId zero) {
  return build.add(Op::quantize_linear, {value, scale, zero}, {{"axis", -1}});
}

/// Inputs: a, its scale and zero point, b, its scale and zero point, those of the result.
Result<Values> binary(SourceNode& node, Builder& build, Op op) {
  RTAI_TRY_VOID(node.expect_inputs(7, 8));
  RTAI_TRY(const ValueId a, dequantize(build, node.input(0), node.input(1), node.input(2)));
  RTAI_TRY(const ValueId b, dequantize(build, node.input(3), node.input(4), node.input(5)));
  RTAI_TRY(const ValueId result, build.add(op, {a, b}));
  return one(quantize(build, result, node.input(6), node.input(7)));
}
Result<Values> q_linear_matmul(SourceNode& node, Builder& build) {
  return binary(node, build, Op::matmul);
}
Result<Values> q_linear_add(SourceNode& node, Builder& build) {
  return binary(node, build, Op::add);
}
Result<Values> q_linear_mul(SourceNode& node, Builder& build) {
  return binary(node, build, Op::mul);
}

/// Inputs: src, its scale and zero point, those of the result.
Result<Values> unary(SourceNode& node, Builder& build, Op op, ir::Attributes attributes = {}) {
  RTAI_TRY_VOID(node.expect_inputs(4, 5));
  RTAI_TRY(const ValueId src, dequantize(build, node.input(0), node.input(1), node.input(2)));
  RTAI_TRY(const ValueId result, build.add(op, {src}, std::move(attributes)));
  return one(quantize(build, result, node.input(3), node.input(4)));
}
Result<Values> q_linear_sigmoid(SourceNode& node, Builder& build) {
  return unary(node, build, Op::sigmoid);
}
Result<Values> q_linear_softmax(SourceNode& node, Builder& build) {
  RTAI_TRY(const auto axis, node.integer("axis"));
  RTAI_TRY_VOID(node.integer("opset"));
  return unary(node, build, Op::softmax, {{"axis", axis.value_or(-1)}});
}

/// Inputs: a, its scale and zero point, b, its scale and zero point, bias in steps of both, scale
/// and zero point of the result, which is real without them.
Result<Values> q_gemm(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(6, 9));
  RTAI_TRY(const bool turn_a, node.flag("transA", false));
  RTAI_TRY(const bool turn_b, node.flag("transB", false));
  RTAI_TRY(const auto alpha, node.real("alpha"));
  RTAI_TRY(const ValueId a, dequantize(build, node.input(0), node.input(1), node.input(2)));
  RTAI_TRY(const ValueId b,
           build.add(Op::dequantize_linear, {node.input(3), node.input(4), node.input(5)},
                     {{"axis", turn_b ? 0 : 1}}));
  ValueId bias = kNoValue;
  if (node.has_input(6)) {
    RTAI_TRY(const ValueId scale, build.add(Op::mul, {node.input(1), node.input(4)}));
    RTAI_TRY(bias, dequantize(build, node.input(6), scale, kNoValue));
  }
  RTAI_TRY(const ValueId result, build.add(Op::gemm, {a, b, bias},
                                           {{"transA", turn_a ? 1 : 0},
                                            {"transB", turn_b ? 1 : 0},
                                            {"alpha", alpha.value_or(1.0f)}}));
  if (!node.has_input(7)) return Values{result};
  return one(quantize(build, result, node.input(7), node.input(8)));
}

/// (a - a_zero)(b - b_zero) * a_scale * b_scale + bias
Result<ValueId> integer_product(
    Builder& build, const Values& operands, ValueId a_scale, ValueId b_scale, ValueId bias) {
  RTAI_TRY(const ValueId sums, build.add(Op::matmul_integer, operands));
  RTAI_TRY(const ValueId real, build.add(Op::cast, {sums}, {{"to", "f32"}}));
  RTAI_TRY(const ValueId scale, build.add(Op::mul, {a_scale, b_scale}));
  RTAI_TRY(const ValueId product, build.add(Op::mul, {real, scale}));
  return bias == kNoValue ? Result<ValueId>(product) : build.add(Op::add, {product, bias});
}

Result<Values> matmul_integer_to_float(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(4, 7));
  return one(integer_product(build, {node.input(0), node.input(1), node.input(4), node.input(5)},
                             node.input(2), node.input(3), node.input(6)));
}

Result<Values> dynamic_quantize_matmul(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(3, 5));
  RTAI_TRY(const Values a, build.add_many(Op::dynamic_quantize_linear, {node.input(0)}, {}, 3));
  return one(integer_product(build, {a[0], node.input(1), a[2], node.input(3)}, a[1], node.input(2),
                             node.input(4)));
}

/// Inputs: src, weight of q, k and v side by side, bias, scales of both, mask, zero points of both.
Result<Values> q_attention(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(5, 9));
  if (node.has_input(8))
    return Error{ErrorCode::unsupported, "attention with a past is not supported"};
  RTAI_TRY(const ValueId rows,
           integer_product(build, {node.input(0), node.input(1), node.input(6), node.input(7)},
                           node.input(3), node.input(4), node.input(2)));
  return attend_to(node, build, rows, node.input(5), kNoValue);
}

/// Inputs: ids, segments, word, position, segment, weight, bias, mask, then the scale of each of
/// the five tables and vectors, then their zero points.
Result<Values> q_embed_layer_normalization(SourceNode& node, Builder& build) {
  RTAI_TRY_VOID(node.expect_inputs(18, 18));
  std::array<ValueId, 5> real{};
  for (std::size_t i = 0; i < real.size(); ++i) {
    real[i] = kNoValue;
    if (!node.has_input(2 + i)) continue;
    RTAI_TRY(real[i], dequantize(build, node.input(2 + i), node.input(8 + i), node.input(13 + i)));
  }
  return embed(node, build,
               {.ids = node.input(0),
                .segments = node.input(1),
                .word = real[0],
                .position = real[1],
                .segment = real[2],
                .weight = real[3],
                .bias = real[4],
                .mask = node.input(7)});
}

constexpr auto kQuantizedRules = std::to_array<NamedRule>({
    {"DynamicQuantizeMatMul", &dynamic_quantize_matmul},
    {"MatMulIntegerToFloat", &matmul_integer_to_float},
    {"QAttention", &q_attention},
    {"QEmbedLayerNormalization", &q_embed_layer_normalization},
    {"QGemm", &q_gemm},
    {"QLinearAdd", &q_linear_add},
    {"QLinearMatMul", &q_linear_matmul},
    {"QLinearMul", &q_linear_mul},
    {"QLinearSigmoid", &q_linear_sigmoid},
    {"QLinearSoftmax", &q_linear_softmax},
});

}  // namespace

Rule find_quantized_rule(std::string_view op_type) {
  return find_among(kQuantizedRules, op_type);
}

}  // namespace rtai::onnx_io
