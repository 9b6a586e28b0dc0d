// Quantized models made elsewhere: their integers come through understanding unchanged.
#include "tools/understanding.h"

#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"
#include "libopt/onnx/export.h"
#include "libopt/onnx/import.h"
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"
#include "tests/libopt/reference/apply.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"
#include "tests/support/texts.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>

namespace rtai::tools {
namespace {

using ir::Op;
using ir::Tensor;
using ir::ValueId;

ir::Graph int8_model(const std::string& mode) {
  ir::Graph graph = testing::make_model();
  ir::name_by_place(graph);
  testing::RuntimeEvaluator evaluator;
  const TokenBatch texts = testing::random_texts(40, 101);
  PassContext context{.calibration = &texts, .evaluator = &evaluator};
  REQUIRE(
      run_pipeline("quantize-int8{attention=f32,mode=" + mode + "}", graph, context, passes::make));
  return graph;
}

/// The graph as an ONNX file, read again: ONNX operators.
ir::Graph exported(const ir::Graph& graph,
                   onnx_io::DynamicScale scale = onnx_io::DynamicScale::row) {
  const auto bytes = onnx_io::export_onnx(graph, {.dynamic_scale = scale});
  REQUIRE(bytes);
  auto imported = onnx_io::import_onnx(*bytes);
  REQUIRE(imported);
  return *std::move(imported);
}

Understood understood(const ir::Graph& imported) {
  auto result = understand(imported, silent_log());
  INFO((result ? "" : result.error().message()));
  REQUIRE(result);
  return *std::move(result);
}

const Tensor& input_of(const ir::Graph& graph, ir::NodeId node, std::size_t input) {
  const Tensor* tensor = graph.constant(graph.node(node).input(input));
  REQUIRE(tensor != nullptr);
  return *tensor;
}

/// Every linear layer has the same real weights, from integers in both.
void check_same_weights(const ir::Graph& before, const ir::Graph& after) {
  using L = ir::Linear;
  const auto a = before.nodes_of(Op::linear);
  const auto b = after.nodes_of(Op::linear);
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Tensor& x = input_of(before, a[i], L::weight);
    const Tensor& y = input_of(after, b[i], L::weight);
    REQUIRE(x.dims() == y.dims());
    CHECK(y.dtype() == DType::i8);
    const Tensor& x_scale = input_of(before, a[i], L::weight_scale);
    const Tensor& y_scale = input_of(after, b[i], L::weight_scale);
    for (Index e = 0; e < x.elements(); ++e) {
      const Index row = e / x.dim(1);
      CHECK(y.value(e) * y_scale.value(row) ==
            Approx(x.value(e) * x_scale.value(row)).epsilon(1e-6).margin(1e-12));
    }
  }
}

TEST_CASE("a dynamic int8 model that rtai exported comes back as it was") {
  const ir::Graph before = int8_model("dynamic");
  const Understood after = understood(exported(before));
  check_same_weights(before, after.graph);
  CHECK(after.difference < 0.05);  // a rounding that goes the other way
  CHECK(after.int8.find("9 with a scale for each row, as in the file; 3 tables int8") !=
        std::string::npos);
  const auto layers = before.nodes_of(Op::linear);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const ir::NodeId again = after.graph.nodes_of(Op::linear)[i];
    CHECK(after.graph.node(again).attributes().real("src_scale", 0) == 0);
    const ValueId factor = before.node(layers[i]).input(ir::Linear::src_factor);
    if (factor == ir::kNoValue) continue;
    CHECK(input_of(after.graph, again, ir::Linear::src_factor) == *before.constant(factor));
  }
}

TEST_CASE("a static int8 model that rtai exported comes back as it was") {
  const ir::Graph before = int8_model("static");
  const Understood after = understood(exported(before));
  check_same_weights(before, after.graph);
  CHECK(after.difference < 0.05);  // a rounding that goes the other way
  const auto layers = before.nodes_of(Op::linear);
  const auto again = after.graph.nodes_of(Op::linear);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    CHECK(after.graph.node(again[i]).attributes().real("src_scale", 0) ==
          before.node(layers[i]).attributes().real("src_scale", 0));
  }
}

TEST_CASE("one scale for a whole batch becomes one for each row") {
  const ir::Graph before = int8_model("dynamic");
  const Understood after = understood(exported(before, onnx_io::DynamicScale::batch));
  check_same_weights(before, after.graph);
  CHECK(after.int8.find("9 with a scale for each row instead of the file's") != std::string::npos);
}

/// Gives every quantization of computed values another type and zero point.
ir::Graph with_zero_point(const ir::Graph& imported, const Tensor& zero) {
  ir::Graph graph = imported;
  const ValueId point = graph.add_constant("moved_zero", zero);
  for (const Op op : {Op::quantize_linear, Op::dequantize_linear}) {
    for (const ir::NodeId id : graph.nodes_of(op)) {
      if (!graph.is_constant(graph.node(id).input(0))) graph.set_input(id, 2, point);
    }
  }
  return graph;
}

TEST_CASE("a source with a zero point becomes one with a scale for each row") {
  const ir::Graph before = int8_model("static");
  const ir::Graph skewed =
      with_zero_point(exported(before), Tensor::scalar<std::uint8_t>(std::uint8_t{128}));
  const Understood after = understood(skewed);
  check_same_weights(before, after.graph);
  for (const ir::NodeId id : after.graph.nodes_of(Op::linear))
    CHECK(after.graph.node(id).attributes().real("src_scale", 0) == 0);
  CHECK(after.int8.find("9 with a scale for each row instead of the file's") != std::string::npos);
}

TEST_CASE("a source of 16 bits keeps its layer in f32") {
  const ir::Graph wide = with_zero_point(exported(int8_model("static")),
                                         Tensor::scalar<std::int16_t>(std::int16_t{0}));
  const Understood after = understood(wide);
  for (const ir::NodeId id : after.graph.nodes_of(Op::linear))
    CHECK(input_of(after.graph, id, ir::Linear::weight).dtype() == DType::f32);
}

TEST_CASE("weights with more steps than int8 has stay real, and that is said") {
  ir::Graph imported = exported(int8_model("dynamic"));
  const ir::NodeId first = imported.nodes_of(Op::matmul_integer)[0];
  const Tensor& signed_bytes = *imported.constant(imported.node(first).input(1));
  std::vector<std::uint8_t> values;
  for (const std::int8_t value : signed_bytes.data<std::int8_t>())
    values.push_back(static_cast<std::uint8_t>(value + 128));
  values[0] = 255;
  const Tensor bytes = Tensor::from<std::uint8_t>(signed_bytes.dims(), values);
  imported.resize_inputs(first, 4);
  imported.set_input(first, 1, imported.add_constant("bytes", bytes));
  imported.set_input(
      first, 3, imported.add_constant("zero", Tensor::scalar<std::uint8_t>(std::uint8_t{100})));
  const Understood after = understood(imported);
  CHECK(after.int8.find("8 linear layers int8") != std::string::npos);
  CHECK(after.int8.find("1 in f32: more steps than int8 has") != std::string::npos);
}

TEST_CASE("integers that change their meaning on the way are refused with the node") {
  ir::Graph imported = exported(int8_model("static"));
  for (const ir::NodeId id : imported.nodes_of(Op::dequantize_linear)) {
    if (imported.is_constant(imported.node(id).input(0))) continue;
    imported.set_input(id, 1, imported.add_constant("other", Tensor::scalar(0.5f)));
    break;
  }
  const auto result = understand(imported, silent_log());
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::unsupported);
  CHECK(result.error().message().find(
            "integers that mean something else than where they were made") != std::string::npos);
}

/// How a weight [k, n] is stored: its element type, and dimensions of its scales.
struct Storage {
  DType dtype;
  bool by_column;
  Index block;  // rows that share a scale; 0: all of them
  DType scale = DType::f32;
};

/// The scales of a form, powers of two that differ from block to block.
Tensor scales_for(const Storage& form, const ir::Dims& weight) {
  if (!form.by_column) return Tensor::scalar(0.0625f);
  const Index blocks = form.block == 0 ? 1 : (weight[0] + form.block - 1) / form.block;
  std::vector<float> values;
  for (Index i = 0; i < blocks * weight[1]; ++i)
    values.push_back(std::ldexp(1.0f, static_cast<int>(i % 3) - 5));
  const ir::Dims dims = form.block == 0 ? ir::Dims{weight[1]} : ir::Dims{blocks, weight[1]};
  return Tensor::from<float>(dims, values).converted(form.scale);
}

/// Puts a dequantization of fewer bits before every weight of a product, each form in turn;
/// `folded` holds what it makes instead.
struct Narrowed {
  ir::Graph graph;
  ir::Graph folded;
  std::size_t weights = 0;
};
Narrowed narrowed(const ir::Graph& imported, const std::vector<Storage>& forms) {
  Narrowed result{imported, imported};
  for (const ir::NodeId id : imported.nodes_of(Op::matmul)) {
    const Tensor* weight = imported.constant(imported.node(id).input(1));
    if (weight == nullptr) continue;
    const Storage& form = forms[result.weights++ % forms.size()];
    const Tensor scales = scales_for(form, weight->dims());
    ir::Attributes attributes{{"axis", form.block == 0 ? 1 : 0}};
    if (form.block > 0) attributes.set("block_size", form.block);
    ir::Attributes to_numbers = attributes;
    to_numbers.set("output_dtype", std::string(dtype_name(form.dtype)));
    const Tensor numbers =
        reference::apply(Op::quantize_linear, {*weight, scales}, std::move(to_numbers));
    const Tensor real = reference::apply(Op::dequantize_linear, {numbers, scales}, attributes);
    ir::Graph& graph = result.graph;
    const ir::NodeId node = graph.insert_before(
        id,
        {.op = Op::dequantize_linear,
         .inputs = {graph.add_constant("numbers", numbers), graph.add_constant("scales", scales)},
         .outputs = {ir::Type{DType::f32, std::nullopt}},
         .attributes = attributes,
         .name = "real"});
    graph.set_input(id, 1, graph.result(node));
    result.folded.set_input(id, 1, result.folded.add_constant("real", real));
  }
  REQUIRE(ir::verify(result.graph));
  return result;
}

TEST_CASE("an encoder with weights of 8, 4 and 2 bits is the encoder of the numbers they are") {
  const ir::Graph imported = exported(testing::make_model());
  const Narrowed models = narrowed(imported, {{DType::i4, false, 0},
                                              {DType::i4, true, 0},
                                              {DType::i4, true, 3},
                                              {DType::u2, true, 2},
                                              {DType::f8e4m3fn, true, 0},
                                              {DType::f8e5m2, false, 0},
                                              {DType::f4e2m1, true, 4, DType::f8e8m0}});
  REQUIRE(models.weights >= 7);
  const Understood small = understood(models.graph);
  const Understood real = understood(models.folded);
  CHECK(small.int8.find("9 in f32: their sources are not quantized") != std::string::npos);
  const auto a = small.graph.nodes_of(Op::linear);
  const auto b = real.graph.nodes_of(Op::linear);
  REQUIRE(a.size() == b.size());
  for (std::size_t i = 0; i < a.size(); ++i) {
    const Tensor& weight = input_of(small.graph, a[i], ir::Linear::weight);
    CHECK(weight.dtype() == DType::f32);
    CHECK(weight == input_of(real.graph, b[i], ir::Linear::weight));
  }
}

}  // namespace
}  // namespace rtai::tools
