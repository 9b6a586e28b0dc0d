#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"
#include "libopt/ir/text.h"
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"
#include "tests/support/models.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai {
namespace {

Result<std::vector<PassRecord>> quantize(ir::Graph& graph, const std::string& options = "") {
  PassContext context;
  return run_pipeline("quantize-int8" + options, graph, context, passes::make);
}

/// The largest distance of a dequantized weight from the original, in steps of its row.
double worst_step(const ir::Graph& before, const ir::Graph& after, const std::string& name) {
  const ir::Tensor& weight = *before.constant(*before.find_value(name));
  const ir::Tensor& integers = *after.constant(*after.find_value(name));
  const ir::Tensor& scales = *after.constant(*after.find_value(name + "_scale"));
  double worst = 0;
  for (Index i = 0; i < weight.elements(); ++i) {
    const double scale = scales.value(i / weight.dim(1));
    worst = std::max(worst, std::fabs(weight.value(i) - integers.value(i) * scale) / scale);
  }
  return worst;
}

TEST_CASE("quantize-int8 stores every weight within half a step of its row") {
  ir::Graph graph = testing::make_model();
  ir::name_by_place(graph);
  const ir::Graph before = graph;
  const auto records = quantize(graph);
  REQUIRE(records);
  CHECK((*records)[0].report.counters[0].value == 2 * 4 + 1);
  CHECK((*records)[0].report.counters[1].value == 3);
  CHECK((*records)[0].report.counters[2].value == 2);
  for (const char* name :
       {"layer.0.qkv.weight", "layer.1.ffn_out.weight", "head.0.weight", "embedding.word"}) {
    CHECK(worst_step(before, graph, name) <= 0.5001);
  }
}

TEST_CASE("a second quantize-int8 changes nothing") {
  ir::Graph graph = testing::make_int8_model();
  const std::string before = ir::print(graph);
  const auto records = quantize(graph);
  REQUIRE(records);
  CHECK_FALSE((*records)[0].report.changed);
  CHECK(ir::print(graph) == before);
}

TEST_CASE("keep-float leaves the named layers as they are") {
  ir::Graph graph = testing::make_model();
  ir::name_by_place(graph);
  REQUIRE(quantize(graph, "{keep-float=head.*;layer.1.*}"));
  const auto dtype = [&](const char* name) { return graph.type(*graph.find_value(name)).dtype; };
  CHECK(dtype("head.0.weight") == DType::f32);
  CHECK(dtype("layer.1.qkv.weight") == DType::f32);
  CHECK(dtype("layer.0.qkv.weight") == DType::i8);
}

TEST_CASE("attention becomes int8 unless it is kept or not wanted") {
  const auto int8_attentions = [](const std::string& options) {
    ir::Graph graph = testing::make_model();
    ir::name_by_place(graph);
    REQUIRE(quantize(graph, options));
    int count = 0;
    for (const ir::NodeId id : graph.order()) {
      const ir::Node& node = graph.node(id);
      if (node.op() == ir::Op::attention && node.attributes().integer("bits", 0) == 8) ++count;
    }
    return count;
  };
  CHECK(int8_attentions("") == 2);
  CHECK(int8_attentions("{keep-float=layer.0.*}") == 1);
  CHECK(int8_attentions("{attention=f32}") == 0);
}

TEST_CASE("a row of zeros gets scale 1, a row with an infinity is refused by name") {
  ir::Graph graph = ir::parse(R"(
    graph (%x: f32[tokens, 2]) {
      @w: f32[2, 2] = [0, 0, 1, -2]
      %y = linear(%x, @w)
      return %y
    })")
                        .value();
  REQUIRE(quantize(graph));
  const ir::Tensor& scales = *graph.constant(*graph.find_value("w_scale"));
  CHECK(scales.value(0) == 1.0);
  CHECK(scales.value(1) == Approx(2.0 / 127));

  ir::Graph broken = ir::parse(R"(
    graph (%x: f32[tokens, 2]) {
      @w: f32[2, 2] = [0, 0, inf, -2]
      %y = linear(%x, @w)
      return %y
    })")
                         .value();
  const auto status = quantize(broken);
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::invalid_input);
  CHECK(status.error().message() == "quantize-int8: layer 'y': row 1 holds inf");
}

TEST_CASE("static quantization without texts is refused") {
  ir::Graph graph = testing::make_model();
  const auto status = quantize(graph, "{mode=static}");
  REQUIRE_FALSE(status);
  CHECK(status.error().message() == "quantize-int8: static quantization needs calibration texts");
  const auto unknown = quantize(graph, "{mode=clever}");
  REQUIRE_FALSE(unknown);
  CHECK(unknown.error().message() ==
        "quantize-int8: option 'mode': expected dynamic or static or auto, found 'clever'");
  const auto arithmetic = quantize(graph, "{attention=int4}");
  REQUIRE_FALSE(arithmetic);
  CHECK(arithmetic.error().message() ==
        "quantize-int8: option 'attention': expected int8 or f32, found 'int4'");
}

}  // namespace
}  // namespace rtai
