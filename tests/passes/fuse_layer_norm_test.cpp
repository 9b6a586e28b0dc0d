#include "tests/passes/pass_test.h"

namespace rtai::passes {
namespace {

std::string norm_text(std::string_view body) {
  return R"(
    graph (%x: f32[b, s, 4]) {
      @w: f32[4] = [1, 2, -1, 0.5]
      @b: f32[4] = [0, 1, 2, 3]
      @last: i64[1] = [-1]
      @two: f32 = [2]
      @one: f32 = [1]
      @half: f32 = [0.5]
      @minus_half: f32 = [-0.5]
      @eps: f32[1] = [1e-5]
      )" +
         std::string(body) + "\n return %y }";
}

constexpr std::string_view kMean = "%m = reduce_mean(%x, @last) : f32 %c = sub(%x, %m) : f32 ";

}  // namespace

TEST_CASE("fuse-layer-norm finds every spelling") {
  std::string body(kMean);
  SECTION("power, square root, division") {
    body += R"(%q = pow(%c, @two) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32 %n = div(%c, %d) : f32
               %g = mul(%n, @w) : f32 %y = add(%g, @b) : f32)";
  }
  SECTION("a product, a second subtraction, operands turned round") {
    body += R"(%c2 = sub(%x, %m) : f32 %q = mul(%c2, %c) : f32
               %v = reduce_mean(%q, @last) : f32 %e = add(@eps, %v) : f32 %d = sqrt(%e) : f32
               %n = div(%c2, %d) : f32 %g = mul(@w, %n) : f32 %y = add(@b, %g) : f32)";
  }
  SECTION("the reciprocal of the deviation") {
    body += R"(%q = mul(%c, %c) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32 %i = reciprocal(%d) : f32
               %n = mul(%c, %i) : f32 %g = mul(%n, @w) : f32 %y = add(%g, @b) : f32)";
  }
  SECTION("powers of -0.5 and of 0.5") {
    body += R"(%q = mul(%c, %c) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %i = pow(%e, @minus_half) : f32
               %n = mul(%i, %c) : f32 %g = mul(%n, @w) : f32 %y = add(%g, @b) : f32)";
  }
  SECTION("one divided by the deviation") {
    body += R"(%q = mul(%c, %c) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %d = pow(%e, @half) : f32 %i = div(@one, %d) : f32
               %n = mul(%i, %c) : f32 %g = mul(%n, @w) : f32 %y = add(%g, @b) : f32)";
  }
  SECTION("the gain first, as TensorFlow writes it") {
    body += R"(%q = mul(%c, %c) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32 %i = reciprocal(%d) : f32
               %g = mul(%i, @w) : f32 %a = mul(%x, %g) : f32 %k = mul(%m, %g) : f32
               %o = sub(@b, %k) : f32 %y = add(%a, %o) : f32)";
  }
  SECTION("the gain first, but centered") {
    body += R"(%q = mul(%c, %c) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32 %g = div(@w, %d) : f32
               %n = mul(%g, %c) : f32 %y = add(%n, @b) : f32)";
  }
  SECTION("the axis counted from the front") {
    body = R"(@axis: i64[1] = [2]
              %m = reduce_mean(%x, @axis) : f32 %c = sub(%x, %m) : f32
              %q = pow(%c, @two) : f32[b, s, 4] %v = reduce_mean(%q, @axis) : f32
              %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32
              %n = div(%c, %d) : f32 %g = mul(%n, @w) : f32 %y = add(%g, @b) : f32)";
  }
  const ir::Graph graph = run_exact("fuse-layer-norm", norm_text(body), 1e-5);
  CHECK(ops(graph) == "layer_normalization");
  const ir::Node& norm = graph.node(graph.order()[0]);
  CHECK(norm.attributes().real("epsilon", 0) == 1e-5f);
  CHECK(graph.name(norm.output()) == "y");
}

TEST_CASE("fuse-layer-norm makes do without weight or bias") {
  const std::string norm = std::string(kMean) + R"(%q = pow(%c, @two) : f32
      %v = reduce_mean(%q, @last) : f32 %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32 )";
  CHECK(ops(run_exact("fuse-layer-norm", norm_text(norm + "%y = div(%c, %d) : f32"), 1e-5)) ==
        "layer_normalization");
  CHECK(ops(run_exact("fuse-layer-norm",
                      norm_text(norm + "%n = div(%c, %d) : f32 %y = add(%n, @b) : f32"), 1e-5)) ==
        "layer_normalization");
}

TEST_CASE("fuse-layer-norm keeps a normalized value that something else reads") {
  const ir::Graph graph = run_exact("fuse-layer-norm", norm_text(std::string(kMean) + R"(
      %q = pow(%c, @two) : f32 %v = reduce_mean(%q, @last) : f32 %e = add(%v, @eps) : f32
      %d = sqrt(%e) : f32 %n = div(%c, %d) : f32 %g = mul(%n, @w) : f32 %a = add(%g, @b) : f32
      %y = add(%a, %n) : f32)"),
                                    1e-5);
  CHECK(ops(graph) == "layer_normalization layer_normalization add");
}

TEST_CASE("fuse-layer-norm reads a normalization of a normalization") {
  std::string body;
  for (const char* const names : {"x0", "01"}) {
    const std::string x = names[0] == 'x' ? "%x" : "%y0";
    const std::string i(1, names[1]);
    body += "%m" + i + " = reduce_mean(" + x + ", @last) : f32[b, s, 1] ";
    body += "%c" + i + " = sub(" + x + ", %m" + i + ") : f32[b, s, 4] ";
    body += "%q" + i + " = pow(%c" + i + ", @two) : f32[b, s, 4] ";
    body += "%v" + i + " = reduce_mean(%q" + i + ", @last) : f32[b, s, 1] ";
    body += "%e" + i + " = add(%v" + i + ", @eps) : f32[b, s, 1] ";
    body += "%d" + i + " = sqrt(%e" + i + ") : f32[b, s, 1] ";
    body += "%n" + i + " = div(%c" + i + ", %d" + i + ") : f32[b, s, 4] ";
    body += "%y" + i + " = mul(%n" + i + ", @w) : f32[b, s, 4] ";
  }
  body += "%y = identity(%y1) : f32";
  CHECK(ops(run_exact("fuse-layer-norm", norm_text(body), 1e-5)) ==
        "layer_normalization layer_normalization identity");
}

TEST_CASE("fuse-layer-norm leaves what is not one") {
  std::string body(kMean);
  std::string expected;
  SECTION("epsilon outside of the root") {
    body += R"(%q = pow(%c, @two) : f32 %v = reduce_mean(%q, @last) : f32 %d = sqrt(%v) : f32
               %e = add(%d, @eps) : f32 %y = div(%c, %e) : f32)";
    expected = "reduce_mean sub pow reduce_mean sqrt add div";
  }
  SECTION("the variance of something else") {
    body += R"(%t = tanh(%x) : f32 %m2 = reduce_mean(%t, @last) : f32 %c2 = sub(%t, %m2) : f32
               %q = pow(%c2, @two) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32 %y = div(%c, %d) : f32)";
    expected = "reduce_mean sub tanh reduce_mean sub pow reduce_mean add sqrt div";
  }
  SECTION("another power") {
    body += R"(@three: f32 = [3] %q = pow(%c, @three) : f32 %v = reduce_mean(%q, @last) : f32
               %e = add(%v, @eps) : f32 %y = mul(%c, %e) : f32)";
    expected = "reduce_mean sub pow reduce_mean add mul";
  }
  SECTION("the mean over another axis") {
    body = R"(@axis: i64[1] = [1]
              %m = reduce_mean(%x, @axis) : f32 %c = sub(%x, %m) : f32 %q = pow(%c, @two) : f32
              %v = reduce_mean(%q, @axis) : f32 %e = add(%v, @eps) : f32 %d = sqrt(%e) : f32
              %y = div(%c, %d) : f32)";
    expected = "reduce_mean sub pow reduce_mean add sqrt div";
  }
  CHECK(ops(run_exact("fuse-layer-norm", norm_text(body))) == expected);
}

}  // namespace rtai::passes
