#include "tests/passes/pass_test.h"

namespace rtai::passes {
namespace {

std::string activation_text(std::string_view body) {
  return R"(
    graph (%x: f32[b, s, 9]) {
      @half: f32 = [0.5]
      @one: f32 = [1]
      @two: f32[1] = [2]
      @three: f32 = [3]
      @zero: f32 = [0]
      @minus_one: f32 = [-1]
      @sqrt2: f32 = [1.4142135]
      @sqrt2_f16: f32 = [1.4140625]
      @sqrt_half: f32 = [0.70710678]
      @c: f32 = [0.044715]
      @k: f32 = [0.7978846]
      @k2: f32 = [0.0356774]
      @near: f32 = [1.702]
      @tiny: f32 = [1e-12]
      )" +
         std::string(body) + "\n return %y }";
}

/// "gelu none", "relu", ... of the only node.
std::string fused(std::string_view body, double tolerance = 1e-6) {
  const ir::Graph graph = run_exact("fuse-activations", activation_text(body), tolerance);
  std::string names;
  for (const ir::NodeId id : graph.order()) {
    const ir::Node& node = graph.node(id);
    names += (names.empty() ? "" : ", ") + std::string(info(node.op()).name);
    if (node.op() == ir::Op::gelu) names += " " + node.attributes().text("approximate", "");
  }
  return names;
}

}  // namespace

TEST_CASE("fuse-activations finds gelu in every order of its factors") {
  CHECK(fused(R"(%a = div(%x, @sqrt2) : f32 %b = erf(%a) : f32 %c = add(%b, @one) : f32
                 %d = mul(%x, %c) : f32 %y = mul(%d, @half) : f32)") == "gelu none");
  CHECK(fused(R"(%h = mul(%x, @half) : f32 %a = mul(@sqrt_half, %x) : f32 %b = erf(%a) : f32
                 %c = add(@one, %b) : f32 %y = mul(%c, %h) : f32)") == "gelu none");
  CHECK(fused(R"(%a = div(%x, @sqrt2) : f32 %b = erf(%a) : f32 %c = add(%b, @one) : f32
                 %d = mul(%c, @half) : f32 %y = mul(%x, %d) : f32)") == "gelu none");
}

TEST_CASE("fuse-activations tells the tanh gelu from the exact one") {
  CHECK(fused(R"(%p = pow(%x, @three) : f32 %a = mul(%p, @c) : f32 %b = add(%x, %a) : f32
                 %d = mul(%b, @k) : f32 %e = tanh(%d) : f32 %f = add(%e, @one) : f32
                 %h = mul(%x, @half) : f32 %y = mul(%h, %f) : f32)") == "gelu tanh");
  CHECK(fused(R"(%q = mul(%x, %x) : f32 %a = mul(%q, @k2) : f32 %b = add(%a, @k) : f32
                 %d = mul(%b, %x) : f32 %e = tanh(%d) : f32 %f = mul(%e, @half) : f32
                 %g = add(%f, @half) : f32 %y = mul(%g, %x) : f32)",
              1e-5) == "gelu tanh");
}

TEST_CASE("fuse-activations accepts constants that were rounded to 16 bits") {
  CHECK(fused(R"(%a = div(%x, @sqrt2_f16) : f32 %b = erf(%a) : f32 %c = add(%b, @one) : f32
                 %d = mul(%x, %c) : f32 %y = mul(%d, @half) : f32)",
              2e-4) == "gelu none");
}

TEST_CASE("fuse-activations finds relu, sigmoid and tanh") {
  CHECK(fused("%y = max(%x, @zero) : f32") == "relu");
  CHECK(fused("%y = clip(%x, @zero) : f32") == "relu");
  CHECK(fused(R"(%a = neg(%x) : f32 %b = exp(%a) : f32 %c = add(@one, %b) : f32
                 %y = div(@one, %c) : f32)") == "sigmoid");
  CHECK(fused(R"(%a = mul(%x, @two) : f32 %b = sigmoid(%a) : f32 %c = mul(%b, @two) : f32
                 %y = add(%c, @minus_one) : f32)") == "tanh");
}

TEST_CASE("fuse-activations finds a function of an inner value") {
  CHECK(fused(R"(%s = mul(%x, @three) : f32 %a = div(%s, @sqrt2) : f32 %b = erf(%a) : f32
                 %c = add(%b, @one) : f32 %d = mul(%s, %c) : f32 %y = mul(%d, @half) : f32)",
              1e-5) == "mul, gelu none");
}

TEST_CASE("fuse-activations leaves functions that are only similar") {
  // x * sigmoid(1.702 x)
  CHECK(fused("%a = mul(%x, @near) : f32 %b = sigmoid(%a) : f32 %y = mul(%x, %b) : f32") ==
        "mul, sigmoid, mul");
  CHECK(fused("%y = max(%x, @tiny) : f32") == "max");
  CHECK(fused("%y = tanh(%x) : f32") == "tanh");
  // A vector is not a number.
  CHECK(fused(R"(@v: f32[9] = [1, 1, 1, 1, 1, 1, 1, 1, 2]
                 %a = div(%x, @sqrt2) : f32 %b = erf(%a) : f32 %c = add(%b, @v) : f32
                 %d = mul(%x, %c) : f32 %y = mul(%d, @half) : f32)") == "div, erf, add, mul, mul");
}

TEST_CASE("fuse-activations replaces an activation of an activation") {
  CHECK(fused(R"(%r = max(%x, @zero) : f32 %a = div(%r, @sqrt2) : f32 %b = erf(%a) : f32
                 %c = add(%b, @one) : f32 %d = mul(%r, %c) : f32 %y = mul(%d, @half) : f32)") ==
        "relu, gelu none");
}

}  // namespace rtai::passes
