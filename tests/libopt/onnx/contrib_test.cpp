// ONNX Runtime's fused operators against the same written plainly.
#include "libopt/ir/text.h"
#include "libopt/onnx/import.h"
#include "tests/libopt/reference/apply.h"
#include "tests/support/onnx_text.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai::onnx_io {
namespace {

using ir::Tensor;
using reference::check_close;
using reference::f32;
using reference::i32;
using reference::i64;

Result<std::vector<Tensor>> run_all(int version,
                                    const std::string& text,
                                    const std::vector<Tensor>& inputs) {
  RTAI_TRY(const ir::Graph graph, import_onnx(onnx_bytes(onnx_model(version, text))));
  return reference::interpret(graph, inputs);
}

std::vector<Tensor> run(const std::string& text,
                        const std::vector<Tensor>& inputs,
                        int version = 17) {
  auto outputs = run_all(version, text, inputs);
  INFO((outputs ? "" : outputs.error().message()));
  REQUIRE(outputs);
  return *std::move(outputs);
}

std::string unsupported(const std::string& text) {
  const auto graph = import_onnx(onnx_bytes(onnx_model(23, text)));
  REQUIRE_FALSE(graph);
  CHECK(graph.error().code() == ErrorCode::unsupported);
  return graph.error().message();
}

/// Numbers in [-1, 1) that look random.
Tensor numbers(ir::Dims dims, int seed) {
  const Index elements = ir::element_count(dims).value();
  std::vector<float> values;
  for (Index i = 0; i < elements; ++i) {
    values.push_back(static_cast<float>(std::sin(12.9898 * static_cast<double>(i + 1) + seed)));
  }
  return f32(std::move(dims), values);
}

void check_same(const std::string& interface,
                const std::string& fused,
                const std::string& plain,
                const std::vector<Tensor>& inputs,
                double tolerance = 1e-6) {
  const auto actual = run(interface + "{" + fused + "}", inputs);
  const auto expected = run(interface + "{" + plain + "}", inputs, 20);
  REQUIRE(actual.size() == expected.size());
  for (std::size_t i = 0; i < actual.size(); ++i)
    check_close(actual[i], expected[i], tolerance);
}

TEST_CASE("fused activations are taken apart") {
  const std::string two = "(float[2,4] x, float[4] b) => (float y)";
  const std::vector inputs = {numbers({2, 4}, 1), numbers({4}, 2)};
  check_same(two, "y = com.microsoft.BiasGelu(x, b)", "s = Add(x, b)  y = Gelu(s)", inputs);
  check_same(two, "y = com.microsoft.FastGelu(x, b)",
             "s = Add(x, b)  y = Gelu <approximate = \"tanh\"> (s)", inputs);
  check_same("(float[2,4] x) => (float y)", "y = com.microsoft.Gelu(x)", "y = Gelu(x)",
             {inputs[0]});
  check_same("(float[2,4] x) => (float y)", "y = com.microsoft.QuickGelu <alpha = 2.0> (x)",
             "c = Constant <value_float = 2.0> ()  s = Mul(x, c)  g = Sigmoid(s)  y = Mul(x, g)",
             {inputs[0]});
  check_same("(float[2,4] x, float[4,3] w, float[3] b) => (float y)",
             "y = com.microsoft.GemmFastGelu(x, w, b)",
             "p = MatMul(x, w)  s = Add(p, b)  y = Gelu <approximate = \"tanh\"> (s)",
             {inputs[0], numbers({4, 3}, 3), numbers({3}, 4)});
}

TEST_CASE("FusedMatMul scales and transposes") {
  check_same("(float[3,2] a, float[4,3] b) => (float y)",
             "y = com.microsoft.FusedMatMul <alpha = 0.5, transA = 1, transB = 1> (a, b)",
             "c = Constant <value_float = 0.5> ()  at = Transpose(a)  bt = Transpose(b)  p = "
             "MatMul(at, bt)  y = Mul(p, c)",
             {numbers({3, 2}, 1), numbers({4, 3}, 2)});
  CHECK(
      unsupported(
          "(float[3,2] a) => (float y) { y = com.microsoft.FusedMatMul <transBatchA = 1> (a, a) }")
          .find("transBatchA") != std::string::npos);
}

TEST_CASE("SkipLayerNormalization gives the sum as its fourth output") {
  const std::string interface =
      "(float[2,3,4] x, float[2,3,4] s, float[4] w, float[4] c, float[4] b) => (float y, float "
      "sum)";
  check_same(interface,
             "y, , , sum = com.microsoft.SkipLayerNormalization <epsilon = 0.001> (x, s, w, c, b)",
             "t = Add(x, s)  sum = Add(t, b)  y = LayerNormalization <epsilon = 0.001> (sum, w, c)",
             {numbers({2, 3, 4}, 1), numbers({2, 3, 4}, 2), numbers({4}, 3), numbers({4}, 4),
              numbers({4}, 5)});
}

TEST_CASE("EmbedLayerNormalization adds three tables and counts the mask") {
  const std::string interface =
      R"((int32[2,3] ids, int32[2,3] seg, float[5,4] word, float[6,4] pos, float[2,4] segment,
    float[4] w, float[4] b, int32[2,3] mask) => (float y, int32 lengths))";
  const std::vector inputs = {i32({2, 3}, {0, 4, 2, 1, 1, 3}),
                              i32({2, 3}, {0, 0, 1, 0, 1, 1}),
                              numbers({5, 4}, 1),
                              numbers({6, 4}, 2),
                              numbers({2, 4}, 3),
                              numbers({4}, 4),
                              numbers({4}, 5),
                              i32({2, 3}, {1, 1, 1, 1, 0, 0})};
  const auto outputs =
      run(interface + R"({ y, lengths = com.microsoft.EmbedLayerNormalization <epsilon = 0.001>
    (ids, seg, word, pos, segment, w, b, mask) })",
          inputs);
  const auto expected =
      run(interface + R"({ i = Constant <value_ints = [0, 1, 2]> ()  p = Gather(pos, i)
    a = Gather(word, ids)  c = Gather(segment, seg)  t = Add(a, p)  s = Add(t, c)
    y = LayerNormalization <epsilon = 0.001> (s, w, b)  ax = Constant <value_ints = [1]> ()
    lengths = ReduceSum <keepdims = 0> (mask, ax) })",
          inputs);
  check_close(outputs[0], expected[0], 1e-6);
  CHECK(outputs[1] == i32({2}, {3, 1}));
}

TEST_CASE("products of quantized matrices are taken apart") {
  const std::string interface = "(float[2,4] x, float[3] s, float[3] b) => (float y)";
  const std::string weight = "<int8[4,3] w = {1,2,3,4,5,6,7,8,9,-1,-2,-3}, int8[3] z = {1,0,0}>";
  const auto fused =
      run(interface + weight + "{ y = com.microsoft.DynamicQuantizeMatMul(x, w, s, z, b) }",
          {numbers({2, 4}, 1), f32({3}, {0.1f, 0.2f, 0.3f}), numbers({3}, 2)});
  const auto plain = run(interface + weight + R"({ q, qs, qz = DynamicQuantizeLinear(x)
    y = com.microsoft.MatMulIntegerToFloat(q, w, qs, s, qz, z, b) })",
                         {numbers({2, 4}, 1), f32({3}, {0.1f, 0.2f, 0.3f}), numbers({3}, 2)});
  CHECK(fused[0] == plain[0]);
  const auto real = run(interface + R"(<float[4,3] w = {0,2,3,3,5,6,6,8,9,-2,-2,-3}>
    { p = MatMul(x, w)  q = Mul(p, s)  y = Add(q, b) })",
                        {numbers({2, 4}, 1), f32({3}, {0.1f, 0.2f, 0.3f}), numbers({3}, 2)});
  check_close(fused[0], real[0], 0.1);
}

TEST_CASE("operators on quantized values dequantize, compute and quantize") {
  const std::string scales = "<float s = {0.5}, uint8 z = {10}, float t = {0.25}, uint8 u = {3}>";
  const auto both = [&](const std::string& fused, const std::string& real) {
    const std::string interface = "(uint8[2,2] a, uint8[2,2] b) => (uint8 y)";
    const std::string begin = "{ p = DequantizeLinear(a, s, z)  q = DequantizeLinear(b, t, u) ";
    const Tensor a = Tensor::from<std::uint8_t>({2, 2}, std::vector<std::uint8_t>{9, 12, 30, 0});
    const Tensor b = Tensor::from<std::uint8_t>({2, 2}, std::vector<std::uint8_t>{3, 8, 40, 1});
    const auto actual = run(interface + scales + "{ y = " + fused + " }", {a, b});
    const auto expected =
        run(interface + scales + begin + real + " y = QuantizeLinear(r, s, z) }", {a, b});
    CHECK(actual[0] == expected[0]);
  };
  both("QLinearMatMul(a, s, z, b, t, u, s, z)", "r = MatMul(p, q)");
  both("com.microsoft.QLinearAdd(a, s, z, b, t, u, s, z)", "r = Add(p, q)");
  both("com.microsoft.QLinearMul(a, s, z, b, t, u, s, z)", "r = Mul(p, q)");
  both("com.microsoft.QLinearSigmoid(a, s, z, s, z)", "r = Sigmoid(p)");
  both("com.microsoft.QLinearSoftmax <axis = -1, opset = 13> (a, s, z, s, z)", "r = Softmax(p)");
  both("com.microsoft.QGemm <transB = 1> (a, s, z, b, t, u, , s, z)",
       "r = Gemm <transB = 1> (p, q)");
}

// --- attention, against the transformer level's

constexpr Index kBatch = 2;
constexpr Index kSeq = 3;
constexpr Index kHidden = 4;

/// softmax(q k^T * scale) v for sequences of these lengths, two heads; rows of padding left out.
Tensor expected_attention(const Tensor& src,
                          const Tensor& weight,
                          const Tensor& bias,
                          float scale,
                          bool causal,
                          const std::vector<Index>& lengths) {
  std::vector<float> rows;
  std::vector<Index> offsets = {0};
  for (Index b = 0; b < kBatch; ++b) {
    for (Index t = 0; t < lengths[static_cast<std::size_t>(b)]; ++t) {
      for (Index i = 0; i < kHidden; ++i)
        rows.push_back(static_cast<float>(src.value((b * kSeq + t) * kHidden + i)));
    }
    offsets.push_back(offsets.back() + lengths[static_cast<std::size_t>(b)]);
  }
  const Tensor packed = f32({offsets.back(), kHidden}, rows);
  const Tensor product = reference::apply(ir::Op::matmul, {packed, weight});
  const Tensor qkv = reference::apply(ir::Op::add, {product, bias});
  return reference::apply(
      ir::Op::attention, {qkv},
      {{"heads", 2}, {"head_dim", 2}, {"scale", scale}, {"causal", causal ? 1 : 0}},
      {.offsets = offsets});
}

/// Rows of a padded result in the order of the packed one.
void check_packed(const Tensor& padded, const Tensor& packed, const std::vector<Index>& lengths) {
  REQUIRE(padded.dims() == ir::Dims{kBatch, kSeq, kHidden});
  Index row = 0;
  for (Index b = 0; b < kBatch; ++b) {
    for (Index t = 0; t < lengths[static_cast<std::size_t>(b)]; ++t, ++row) {
      for (Index i = 0; i < kHidden; ++i) {
        CHECK(padded.value((b * kSeq + t) * kHidden + i) ==
              Approx(packed.value(row * kHidden + i)).margin(1e-5));
      }
    }
  }
}

TEST_CASE("com.microsoft.Attention agrees with the transformer level for every kind of mask") {
  const Tensor src = numbers({kBatch, kSeq, kHidden}, 1);
  const Tensor weight = numbers({kHidden, 3 * kHidden}, 2);
  const Tensor bias = numbers({3 * kHidden}, 3);
  const float scale = 1.0f / std::sqrt(2.0f);
  const auto attend = [&](const std::string& mask_type, const std::string& attributes,
                          const Tensor& mask) {
    return run("(float[2,3,4] x, float[4,12] w, float[12] b, " + mask_type + R"( m) => (float y) {
      y = com.microsoft.Attention <num_heads = 2)" +
                   attributes + "> (x, w, b, m) }",
               {src, weight, bias, mask})[0];
  };
  const std::vector<Index> ragged = {3, 2};
  const Tensor padded = expected_attention(src, weight, bias, scale, false, ragged);
  check_packed(attend("int32[2,3]", "", i32({2, 3}, {1, 1, 1, 1, 1, 0})), padded, ragged);
  check_packed(attend("int32[2]", "", i32({2}, {3, 2})), padded, ragged);
  check_packed(attend("int32[2,3,3]", "",
                      i32({2, 3, 3}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1, 0, 1, 1, 0})),
               padded, ragged);
  check_packed(
      attend("int32[2,3]", ", scale = 0.3, unidirectional = 1", i32({2, 3}, {1, 1, 1, 1, 1, 0})),
      expected_attention(src, weight, bias, 0.3f, true, ragged), ragged);
}

TEST_CASE("a mask with starts and ends fails instead of meaning something else") {
  const auto outputs =
      run_all(17, R"((float[1,3,4] x, float[4,12] w, float[12] b, int32[n] m) => (float y) {
      y = com.microsoft.Attention <num_heads = 2> (x, w, b, m) })",
              {numbers({1, kSeq, kHidden}, 1), numbers({kHidden, 3 * kHidden}, 2),
               numbers({3 * kHidden}, 3), i32({2}, {3, 0})});
  REQUIRE_FALSE(outputs);
  CHECK(outputs.error().message().find("does not reshape") != std::string::npos);
}

TEST_CASE("Attention with sizes of its own for q, k and v is pruned attention") {
  const Tensor src = numbers({kBatch, kSeq, kHidden}, 1);
  const Tensor weight = numbers({kHidden, 10}, 2);
  const auto outputs = run(R"((float[2,3,4] x, float[4,10] w) => (float y) {
      y = com.microsoft.Attention <num_heads = 2, qkv_hidden_sizes = [4, 4, 2]> (x, w) })",
                           {src, weight});
  CHECK(outputs[0].dims() == ir::Dims{2, 3, 2});
}

TEST_CASE("MultiHeadAttention and ONNX's own Attention agree with the transformer level") {
  const Tensor src = numbers({kBatch, kSeq, kHidden}, 1);
  const Tensor weight = numbers({kHidden, 3 * kHidden}, 2);
  const Tensor bias = numbers({3 * kHidden}, 3);
  const std::vector<Index> full = {3, 3};
  const std::vector<Index> ragged = {3, 2};
  const float scale = 1.0f / std::sqrt(2.0f);
  const std::string begin =
      "(float[2,3,4] x, float[4,12] w, float[12] b, int32[2,3] m) => (float y) { p = MatMul(x, w)";
  const std::string split =
      begin + "  s = Add(p, b)  q, k, v = Split <axis = -1, num_outputs = 3> (s)";
  const Tensor mask = i32({2, 3}, {1, 1, 1, 1, 1, 0});
  const std::vector inputs = {src, weight, bias, mask};
  const auto first = [&](const std::string& text) { return run(text, inputs, 23)[0]; };

  check_packed(first(begin + R"(  q, k, v = Split <axis = -1, num_outputs = 3> (p)
    y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, k, v, b, m) })"),
               expected_attention(src, weight, bias, scale, false, ragged), ragged);
  check_packed(first(split + "  y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v) }"),
               expected_attention(src, weight, bias, scale, false, full), full);
  check_packed(first(split + "  y = Attention <q_num_heads = 2, kv_num_heads = 2, is_causal = 1, "
                             "scale = 0.3> (q, k, v) }"),
               expected_attention(src, weight, bias, 0.3f, true, full), full);
  check_packed(
      first(
          split +
          R"(  t = Cast <to = 9> (m)  ax = Constant <value_ints = [1, 2]> ()  keep = Unsqueeze(t, ax)
    y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, k, v, keep) })"),
      expected_attention(src, weight, bias, scale, false, ragged), ragged);
}

TEST_CASE("a query that sees no key gives zeros in ONNX's own Attention") {
  const auto outputs =
      run(R"((float[1,1,2,2] q, bool[2,2] m) => (float y) { y = Attention(q, q, q, m) })",
          {f32({1, 1, 2, 2}, {1, 2, 3, 4}), reference::bools({2, 2}, {0, 0, 1, 0})}, 23);
  CHECK(outputs[0] == f32({1, 1, 2, 2}, {0, 0, 1, 2}));
}

TEST_CASE("heads of queries share those of keys, after those of the past") {
  const std::string text = R"((float[1,2,1,1] q, float[1,1,1,1] k, float[1,1,1,1] past)
    => (float y, float keys, float values, float scores) {
    y, keys, values, scores =
      Attention <scale = 1.0, is_causal = 1, qk_matmul_output_mode = 2> (q, k, k, , past, past) })";
  const auto outputs =
      run(text, {f32({1, 2, 1, 1}, {1, 2}), f32({1, 1, 1, 1}, {3}), f32({1, 1, 1, 1}, {3})}, 23);
  CHECK(outputs[0] == f32({1, 2, 1, 1}, {3, 3}));
  CHECK(outputs[1] == f32({1, 1, 2, 1}, {3, 3}));
  CHECK(outputs[3] == f32({1, 2, 1, 2}, {3, 3, 6, 6}));
}

TEST_CASE("ONNX Runtime's attention with a past or present outputs is refused") {
  CHECK(
      unsupported(R"((float[1,2,4] x, float[4,12] w, float[12] b, float[2,1,2,1,2] p) => (float y) {
    y = com.microsoft.Attention <num_heads = 2> (x, w, b, , p) })")
          .find("with a past") != std::string::npos);
  CHECK(unsupported(R"((float[1,2,4] x, float[4,12] w) => (float y, float p) {
    y, p = com.microsoft.Attention <num_heads = 2> (x, w) })")
            .find("'present'") != std::string::npos);
  CHECK(unsupported("(float[1,2,4] x) => (float y) { y = com.microsoft.Attention <num_heads = 2, "
                    "do_rotary = 1> (x, x) }")
            .find("do_rotary") != std::string::npos);
}

TEST_CASE("an undeclared com.microsoft domain is understood") {
  onnx::ModelProto model =
      onnx_model(17, "(float[2] x) => (float y) { y = com.microsoft.Gelu(x) }");
  model.mutable_opset_import()->RemoveLast();
  CHECK(import_onnx(onnx_bytes(model)));
}

}  // namespace
}  // namespace rtai::onnx_io
