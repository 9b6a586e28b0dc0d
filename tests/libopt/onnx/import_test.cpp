#include "libopt/onnx/import.h"

#include "libopt/ir/text.h"
#include "tests/libopt/reference/apply.h"
#include "tests/support/onnx_text.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <functional>

namespace rtai::onnx_io {
namespace {

using ir::Op;
using ir::Tensor;
using reference::bools;
using reference::check_close;
using reference::f32;
using reference::i64;

ir::Graph import_text(int version, const std::string& text) {
  auto graph = import_onnx(onnx_bytes(onnx_model(version, text)));
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  return *std::move(graph);
}

Error import_error(const onnx::ModelProto& model) {
  const auto graph = import_onnx(onnx_bytes(model));
  REQUIRE_FALSE(graph);
  return graph.error();
}

std::string invalid(const onnx::ModelProto& model) {
  const Error error = import_error(model);
  CHECK(error.code() == ErrorCode::invalid_input);
  return error.message();
}

std::string unsupported(const onnx::ModelProto& model) {
  const Error error = import_error(model);
  CHECK(error.code() == ErrorCode::unsupported);
  return error.message();
}

/// The first output of a model of opset `version` on the inputs.
Tensor run(int version, const std::string& text, const std::vector<Tensor>& inputs) {
  const auto outputs = reference::interpret(import_text(version, text), inputs);
  INFO((outputs ? "" : outputs.error().message()));
  REQUIRE(outputs);
  return outputs->at(0);
}

std::vector<Op> ops_of(const ir::Graph& graph) {
  std::vector<Op> ops;
  for (const ir::NodeId id : graph.order())
    ops.push_back(graph.node(id).op());
  return ops;
}

TEST_CASE("a model keeps its names, shapes, weights and origin") {
  onnx::ModelProto model = onnx_model(17, R"((float[batch, 3] x) => (float[batch, 3] y)
    <float[3] w = {1, 2, 3}> { t = Add(x, w)  y = Tanh(t) })");
  model.set_producer_name("maker");
  model.set_producer_version("2.0");
  const auto graph = import_onnx(onnx_bytes(model));
  REQUIRE(graph);
  CHECK(ir::print(*graph) == R"(graph (%x: f32[batch, 3]) {
  @w: f32[3] = [1, 2, 3]
  %t = add(%x, @w) : f32
  %y = tanh(%t) : f32[batch, 3]
  return %y
}
)");
  CHECK(graph->metadata().at("producer") == "maker 2.0");
  CHECK(graph->metadata().at("opset") == "17");
  CHECK(graph->metadata().at("ir_version") == "8");
  CHECK(graph->metadata().at("name") == "g");
}

TEST_CASE("nodes may come in any order") {
  const ir::Graph graph =
      import_text(17, "(float[2] x) => (float[2] y) { y = Neg(b)  b = Abs(a)  a = Add(x, x) }");
  CHECK(ops_of(graph) == std::vector{Op::add, Op::abs, Op::neg});
}

TEST_CASE("constants come from nodes, initializers and initializers listed as inputs") {
  onnx::ModelProto model = onnx_model(17, R"((float[2] x, float[2] w) => (float[2] y)
    <float[2] w = {1, 2}> { c = Constant <value = float[2] {10, 20}> ()
      s = Add(x, w)  y = Add(s, c) })");
  const auto graph = import_onnx(onnx_bytes(model));
  REQUIRE(graph);
  CHECK(graph->inputs().size() == 1);
  const auto outputs = reference::interpret(*graph, std::vector{f32({2}, {0, 0})});
  CHECK(outputs->at(0) == f32({2}, {11, 22}));
}

TEST_CASE("Constant takes every kind of number") {
  CHECK(run(17, "(int64[2] x) => (int64[2] y) { c = Constant <value_int = 5> ()  y = Add(x, c) }",
            {i64({2}, {1, 2})}) == i64({2}, {6, 7}));
  CHECK(run(17,
            "(int64[2] x) => (int64[2] y) { c = Constant <value_ints = [5, 6]> ()  y = Add(x, c) }",
            {i64({2}, {1, 2})}) == i64({2}, {6, 8}));
  CHECK(run(17,
            "(float[1] x) => (float[1] y) { c = Constant <value_float = 0.5> ()  y = Add(x, c) }",
            {f32({1}, {1})}) == f32({1}, {1.5f}));
  CHECK(run(17,
            "(float[2] x) => (float[2] y) { c = Constant <value_floats = [0.5, 1.5]> ()  y = "
            "Add(x, c) }",
            {f32({2}, {1, 1})}) == f32({2}, {1.5f, 2.5f}));
  CHECK(unsupported(onnx_model(17, R"((float[1] x) => (float[1] y) {
          c = Constant <value_string = "a"> ()  y = Add(x, c) })"))
            .find("value_string") != std::string::npos);
  CHECK(invalid(onnx_model(17, "(float[1] x) => (float[1] y) { c = Constant ()  y = Add(x, c) }"))
            .find("without a value") != std::string::npos);
}

TEST_CASE("Identity is an alias, but an output keeps its name") {
  const ir::Graph graph = import_text(17, R"((float[2] x) => (float[2] y, float[2] z, float[2] x2)
    { a = Identity(x)  b = Identity(a)  t = Neg(b)  y = Identity(t)  z = Identity(t)  x2 = Identity(x) })");
  CHECK(graph.nodes_of(Op::neg).size() == 1);
  CHECK(graph.name(graph.outputs()[0]) == "y");
  CHECK(graph.name(graph.outputs()[1]) == "z");
  CHECK(graph.name(graph.outputs()[2]) == "x2");
  const auto outputs = reference::interpret(graph, std::vector{f32({2}, {1, 2})});
  CHECK(outputs->at(1) == f32({2}, {-1, -2}));
  CHECK(outputs->at(2) == f32({2}, {1, 2}));
}

TEST_CASE("names of the file go before those that import makes up") {
  // An old Softmax of unknown rank becomes four nodes, whose values are named by number.
  for (int i = 0; i < 12; ++i) {
    const std::string name = "flatten" + std::to_string(i);
    onnx::ModelProto model = onnx_model(
        11, "(float[1] x) => (float " + name + ") { y = Softmax (x)  " + name + " = Neg(y) }");
    model.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
    const auto graph = import_onnx(onnx_bytes(model));
    REQUIRE(graph);
    CHECK(graph->name(graph->outputs()[0]) == name);
  }
}

TEST_CASE("inputs without a shape and dimensions without a size are taken as they are") {
  onnx::ModelProto model =
      onnx_model(17, "(float[2, n, 4] x, float[2] w) => (float y) { y = Add(x, w) }");
  auto& shape = *model.mutable_graph()
                     ->mutable_input(0)
                     ->mutable_type()
                     ->mutable_tensor_type()
                     ->mutable_shape();
  shape.mutable_dim(0)->set_dim_value(-1);
  shape.mutable_dim(2)->clear_dim_value();
  model.mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type()->clear_shape();
  const auto graph = import_onnx(onnx_bytes(model));
  REQUIRE(graph);
  CHECK(to_string(graph->type(graph->inputs()[0])) == "f32[x.0, n, x.2]");
  CHECK(to_string(graph->type(graph->inputs()[1])) == "f32");
}

TEST_CASE("Dropout is identity, with a warning in training mode") {
  struct Warnings : Log {
    std::vector<std::string> texts;
    void info(std::string_view) override {}
    void warning(std::string_view text) override { texts.emplace_back(text); }
    void progress(std::string_view, double, double) override {}
  } log;
  const auto graph = import_onnx(onnx_bytes(onnx_model(13, R"((float[2] x) => (float[2] y)
    <bool training = {1}> { r = Constant <value_float = 0.5> ()
      t = Dropout(x)  y = Dropout(t, r, training) })")),
                                 {}, log);
  REQUIRE(graph);
  CHECK(graph->nodes_of(Op::dropout).empty());
  REQUIRE(log.texts.size() == 1);
  CHECK(log.texts[0] == "node 'y': Dropout in training mode is taken as none");
}

// --- old spellings

TEST_CASE("axes given as attributes become inputs") {
  const Tensor x = f32({1, 2, 2}, {1, 2, 3, 4});
  CHECK(run(11, "(float[1,2,2] x) => (float y) { y = Squeeze <axes = [0]> (x) }", {x}) ==
        f32({2, 2}, {1, 2, 3, 4}));
  CHECK(run(11, "(float[1,2,2] x) => (float y) { y = Squeeze (x) }", {x}) ==
        f32({2, 2}, {1, 2, 3, 4}));
  CHECK(run(11, "(float[1,2,2] x) => (float y) { y = Unsqueeze <axes = [0, 4]> (x) }", {x}) ==
        f32({1, 1, 2, 2, 1}, {1, 2, 3, 4}));
  CHECK(run(11, "(float[1,2,2] x) => (float y) { y = ReduceMean <axes = [-1], keepdims = 0> (x) }",
            {x}) == f32({1, 2}, {1.5f, 3.5f}));
  CHECK(run(11, "(float[1,2,2] x) => (float y) { y = ReduceSum (x) }", {x}) ==
        f32({1, 1, 1}, {10}));
  CHECK(
      run(9,
          "(float[1,2,2] x) => (float y) { y = Slice <axes = [2], starts = [1], ends = [9]> (x) }",
          {x}) == f32({1, 2, 1}, {2, 4}));
  CHECK(
      run(11,
          "(float[1,2,2] x) => (float y, float z) { y, z = Split <axis = 1, split = [1, 1]> (x) }",
          {x}) == f32({1, 1, 2}, {1, 2}));
  CHECK(run(11, "(float[1,2,2] x) => (float y, float z) { y, z = Split <axis = 2> (x) }", {x}) ==
        f32({1, 2, 1}, {1, 3}));
  CHECK(run(4, "(float[1,2,2] x) => (float y) { y = Reshape <shape = [4]> (x) }", {x}) ==
        f32({4}, {1, 2, 3, 4}));
}

TEST_CASE("Clip and Pad take their numbers from attributes of old versions") {
  const Tensor x = f32({3}, {-2, 0.5f, 2});
  CHECK(run(6, "(float[3] x) => (float y) { y = Clip <min = -1.0, max = 1.0> (x) }", {x}) ==
        f32({3}, {-1, 0.5f, 1}));
  CHECK(run(6, "(float[3] x) => (float y) { y = Clip <max = 1.0> (x) }", {x}) ==
        f32({3}, {-2, 0.5f, 1}));
  CHECK(run(10, "(float[3] x) => (float y) { y = Pad <pads = [1, 0], value = 7.0> (x) }", {x}) ==
        f32({4}, {7, -2, 0.5f, 2}));
}

TEST_CASE("Softmax before opset 13 counts the dimensions from its axis on as one") {
  const Tensor x = f32({1, 2, 2}, {0, 0, 0, 0});
  const std::string by_default = "(float[1,2,2] x) => (float y) { y = Softmax (x) }";
  CHECK(run(11, by_default, {x}) == f32({1, 2, 2}, {0.25f, 0.25f, 0.25f, 0.25f}));
  CHECK(run(13, by_default, {x}) == f32({1, 2, 2}, {0.5f, 0.5f, 0.5f, 0.5f}));
  check_close(run(11, "(float[1,2,2] x) => (float y) { y = LogSoftmax <axis = 0> (x) }", {x}),
              f32({1, 2, 2}, {-1.3862944f, -1.3862944f, -1.3862944f, -1.3862944f}), 1e-6);
}

TEST_CASE("Softmax over the last axis stays one node in every version") {
  CHECK(ops_of(import_text(11, "(float[1,2,2] x) => (float y) { y = Softmax <axis = 2> (x) }")) ==
        std::vector{Op::softmax});
  CHECK(ops_of(import_text(11, "(float x) => (float y) { y = Softmax <axis = -1> (x) }")) ==
        std::vector{Op::softmax});
  // The rank is known through the shape arithmetic that exporters leave around attention.
  const ir::Graph graph = import_text(11, R"((float[b,s,4] x) => (float y)
    <int64[1] two = {2}, int64 zero = {0}> {
      shape = Shape(x)  b = Gather(shape, zero)  b1 = Unsqueeze <axes = [0]> (b)
      dims = Concat <axis = 0> (b1, two, two, two)  r = Reshape(x, dims)
      t = Transpose <perm = [0, 2, 1, 3]> (r)  y = Softmax <axis = 3> (t) })");
  CHECK(graph.nodes_of(Op::flatten).empty());
}

TEST_CASE("an input of unknown rank keeps the meaning of an old Softmax") {
  onnx::ModelProto model =
      onnx_model(11, "(float[1] x) => (float y) { y = Softmax <axis = 1> (x) }");
  model.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->clear_shape();
  const auto graph = import_onnx(onnx_bytes(model));
  REQUIRE(graph);
  const auto outputs = reference::interpret(*graph, std::vector{f32({1, 2, 2}, {0, 0, 0, 0})});
  CHECK(outputs->at(0) == f32({1, 2, 2}, {0.25f, 0.25f, 0.25f, 0.25f}));
}

TEST_CASE("LayerNormalization is taken before the opset that introduced it") {
  CHECK(ops_of(import_text(11,
                           R"((float[1,2] x) => (float y) <float[2] w = {1, 1}, float[2] b = {0, 0}>
    { y = LayerNormalization <axis = -1, epsilon = 1e-12, stash_type = 1> (x, w, b) })")) ==
        std::vector{Op::layer_normalization});
}

TEST_CASE("Cast, ConstantOfShape and quantization carry their element types") {
  CHECK(run(17, "(float[2] x) => (int64[2] y) { y = Cast <to = 7> (x) }",
            {f32({2}, {1.5f, -1.5f})}) == i64({2}, {1, -1}));
  CHECK(run(17, "(int64[1] x) => (int64 y) { y = ConstantOfShape <value = int64[1] {3}> (x) }",
            {i64({1}, {2})}) == i64({2}, {3, 3}));
  const Tensor q = run(21, R"((float[2] x) => (int8 y) { s = Constant <value_float = 0.5> ()
    y = QuantizeLinear <output_dtype = 3> (x, s) })",
                       {f32({2}, {1, -200})});
  CHECK(q == reference::i8({2}, {2, -128}));
  CHECK(unsupported(onnx_model(19, "(float[2] x) => (float y) { y = Cast <to = 8> (x) }"))
            .find("STRING") != std::string::npos);
}

TEST_CASE("casts to floats of 8 bits saturate and round as their attributes say") {
  const auto cast = [](const std::string& attributes, float value) {
    const std::string text =
        "(float[1] x) => (float y) { q = Cast <" + attributes + "> (x)  y = Cast <to = 1> (q) }";
    return run(24, text, {f32({1}, {value})}).value(0);
  };
  CHECK(cast("to = 17", 1000) == 448);
  CHECK(std::isnan(cast("to = 17, saturate = 0", 1000)));
  CHECK(std::isinf(cast("to = 19, saturate = 0", 1e6f)));
  CHECK(cast("to = 24", 1.1f) == 2);
  CHECK(cast("to = 24, round_mode = \"down\"", 1.9f) == 1);
  CHECK(cast("to = 24, round_mode = \"nearest\"", 1.4f) == 1);
  CHECK(cast("to = 22", 9) == -7);
  const std::string like = R"((float[1] x) => (float y) {
    t = Cast <to = 19> (x)  q = CastLike <saturate = 0> (x, t)  y = Cast <to = 1> (q) })";
  CHECK(std::isinf(run(19, like, {f32({1}, {1e6f})}).value(0)));
}

/// A weight [rows, columns] of 4 bits: its elements in order are -8, -7, ... 7, -8, ...
onnx::TensorProto int4_weight(Index rows, Index columns) {
  onnx::TensorProto weight;
  weight.set_name("w");
  weight.set_data_type(22);  // INT4
  weight.add_dims(rows);
  weight.add_dims(columns);
  std::string bytes;
  for (Index i = 0; i < rows * columns; ++i) {
    const int code = static_cast<int>(i % 16) ^ 8;
    if (i % 2 == 0)
      bytes.push_back(static_cast<char>(code));
    else
      bytes.back() = static_cast<char>(static_cast<std::uint8_t>(bytes.back()) | code << 4);
  }
  weight.set_raw_data(bytes);
  return weight;
}

TEST_CASE("weights of 4 bits are what their scales make of them: of all, of columns, of blocks") {
  constexpr Index kRows = 5;
  constexpr Index kColumns = 3;
  struct Scaling {
    std::string scales;      // initializer s
    std::string attributes;  // of DequantizeLinear
    std::function<float(Index, Index)> scale;
  };
  const std::vector<Scaling> cases = {
      {"float s = {0.5}", "", [](Index, Index) { return 0.5f; }},
      {"float[3] s = {1, 2, 4}", "<axis = 1>",
       [](Index, Index c) { return static_cast<float>(1 << c); }},
      {"float[3, 3] s = {1, 2, 4, 8, 16, 32, 64, 128, 256}", "<axis = 0, block_size = 2>",
       [](Index r, Index c) { return static_cast<float>(1 << (r / 2 * 3 + c)); }},
  };
  for (const Scaling& one : cases) {
    INFO(one.attributes);
    onnx::ModelProto model =
        onnx_model(21, "(float[1, 5] x) => (float y) <" + one.scales + "> { d = DequantizeLinear " +
                           one.attributes + " (w, s)  y = MatMul(x, d) }");
    *model.mutable_graph()->add_initializer() = int4_weight(kRows, kColumns);
    const auto graph = import_onnx(onnx_bytes(model));
    INFO((graph ? "" : graph.error().message()));
    REQUIRE(graph);
    for (Index row = 0; row < kRows; ++row) {
      std::vector<float> unit(kRows, 0);
      unit[static_cast<std::size_t>(row)] = 1;
      const auto outputs = reference::interpret(*graph, std::vector{f32({1, kRows}, unit)});
      REQUIRE(outputs);
      for (Index column = 0; column < kColumns; ++column) {
        const auto number = static_cast<float>((row * kColumns + column) % 16 - 8);
        CHECK(outputs->at(0).value(column) == number * one.scale(row, column));
      }
    }
  }
}

TEST_CASE("before opset 7, axis says where the second input of an operator broadcasts") {
  const Tensor x = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  const auto add = [&](const std::string& attributes, const Tensor& y, const std::string& shape) {
    return run(6,
               "(float[2, 3] x, float" + shape + " z) => (float y) { y = Add <" + attributes +
                   "> (x, z) }",
               {x, y});
  };
  CHECK(add("broadcast = 1", f32({3}, {10, 20, 30}), "[3]") ==
        f32({2, 3}, {11, 22, 33, 14, 25, 36}));
  CHECK(add("broadcast = 1, axis = 1", f32({3}, {10, 20, 30}), "[3]") ==
        f32({2, 3}, {11, 22, 33, 14, 25, 36}));
  CHECK(add("broadcast = 1, axis = 0", f32({2}, {10, 20}), "[2]") ==
        f32({2, 3}, {11, 12, 13, 24, 25, 26}));
  CHECK(add("broadcast = 1, axis = -2", f32({2}, {10, 20}), "[2]") ==
        f32({2, 3}, {11, 12, 13, 24, 25, 26}));
  CHECK(run(6,
            "(float[2, 3] x, float[3] c) => (float y) { y = Gemm <broadcast = 1> (x, w, c) "
            " w = Constant <value = float[3, 3] {1, 0, 0, 0, 1, 0, 0, 0, 1}> () }",
            {x, f32({3}, {1, 1, 1})}) == f32({2, 3}, {2, 3, 4, 5, 6, 7}));
  const auto model = [](const std::string& attributes, const std::string& shape, int version = 6) {
    return onnx_model(version, "(float[2, 3] x, float" + shape + " z) => (float y) { y = Less <" +
                                   attributes + "> (x, z) }");
  };
  CHECK(invalid(model("broadcast = 1, axis = 1", "[2, 3]"))
            .find("axis 1 for inputs of ranks 2 and 2") != std::string::npos);
  CHECK(invalid(model("broadcast = 1, axis = -3", "[2]")).find("axis -3") != std::string::npos);
  onnx::ModelProto unknown = model("broadcast = 1, axis = 0", "[2]");
  unknown.mutable_graph()->mutable_input(1)->mutable_type()->mutable_tensor_type()->clear_shape();
  CHECK(unsupported(unknown).find("unknown ranks") != std::string::npos);
  CHECK(unsupported(model("broadcast = 1", "[3]", 7)).find("attribute 'broadcast' of version 7") !=
        std::string::npos);
}

TEST_CASE("the branches of an If read what is outside, and their names end with them") {
  const std::string text = R"((bool c, bool d, float[2] x) => (float[k] y) {
    y = If (c) <then_branch = g1 () => (float[k] r) {
                  s = Neg(w)
                  r = If (d) <then_branch = g2 () => (float[k] t) { t = Concat <axis = 0> (s, w) },
                              else_branch = g3 () => (float[k] t) { t = Identity(s) }>
                },
                else_branch = g4 () => (float[k] r) { s = Abs(w)  r = Add(s, w) }>
    w = Add(x, x)
  })";
  const Tensor x = f32({2}, {1, -2});
  const auto y = [&](bool c, bool d) { return run(17, text, {bools({}, {c}), bools({}, {d}), x}); };
  CHECK(y(true, true) == f32({4}, {-2, 4, 2, -4}));
  CHECK(y(true, false) == f32({2}, {-2, 4}));
  CHECK(y(false, true) == f32({2}, {4, 0}));
}

TEST_CASE("a branch that cannot be computed does no harm where it is not taken") {
  const std::string text = R"((bool c, float[2] x) => (float[k] y) {
    axes = Constant <value_ints = [0]> ()
    y = If (c) <then_branch = g1 () => (float[k] r) { s = Squeeze(x, axes)  r = Neg(s) },
                else_branch = g2 () => (float[k] r) { r = Neg(x) }>
  })";
  const Tensor x = f32({2}, {1, -2});
  CHECK(run(17, text, {bools({}, {0}), x}) == f32({2}, {-1, 2}));
  const auto failed = reference::interpret(import_text(17, text), std::vector{bools({}, {1}), x});
  REQUIRE_FALSE(failed);
  CHECK(failed.error().message() == "node 's' (squeeze): axis 0 of f32[2] is not 1");
}

TEST_CASE("an If must have two branches that make what it makes") {
  const auto message = [](const std::string& node) {
    return invalid(onnx_model(17, "(bool c, float[1] x) => (float y) {" + node + "}"));
  };
  CHECK(message("y = If (c) <then_branch = g1 () => (float a) { a = Neg(x) }>") ==
        "node 'y' (If): expected a graph without inputs as its attribute 'else_branch'");
  CHECK(message("y, z = If (c) <then_branch = g1 () => (float a) { a = Neg(x) }, "
                "else_branch = g2 () => (float a) { a = Abs(x) }>") ==
        "node 'y' (If): branches of other outputs than its own");
  CHECK(message("y = If (c) <then_branch = g1 () => (float a) { b = Neg(x) }, "
                "else_branch = g2 () => (float a) { a = Abs(x) }>") ==
        "node 'y' (If) reads 'a', which nothing makes");
  CHECK(message("y = If (c) <then_branch = g1 () => (float a) { a = Neg(y) }, "
                "else_branch = g2 () => (float a) { a = Abs(x) }>") ==
        "node 'y' (If) depends on its own result");
}

// --- what is refused

TEST_CASE("all operators that rtai lacks are named at once, with their nodes") {
  onnx::ModelProto model = onnx_model(17, R"((float[1] x) => (float y)
    { a = Conv(x, x)  b = Conv(a, a)  y = Selu(b) })");
  model.mutable_graph()->mutable_node(0)->set_name("first");
  model.mutable_graph()->mutable_node(2)->set_domain("com.example");
  CHECK(unsupported(model) ==
        "not supported: operator 'Conv' version 17 (2 nodes, first at node 'first' (Conv)), "
        "'com.example.Selu' (1 node, first at node 'y' (Selu))");
}

TEST_CASE("loops are refused by name, and what a branch holds is, too") {
  CHECK(unsupported(onnx_model(17, R"((int64 n, bool c, float[1] x) => (float y) {
    y = Loop (n, c, x) <body = g1 (int64 i, bool d, float[1] v) => (bool e, float[1] w)
                        { e = Identity(d)  w = Neg(v) }> })"))
            .find("'Loop' version 17 (1 node, first at node 'y' (Loop))") != std::string::npos);
  CHECK(unsupported(onnx_model(17, R"((bool c, float[1] x) => (float y) {
    y = If (c) <then_branch = g1 () => (float a) { a = Conv(x, x) },
                else_branch = g2 () => (float b) { b = Neg(x) }> })"))
            .find("'Conv' version 17 (1 node, first at node 'a' (Conv))") != std::string::npos);
}

TEST_CASE("operator sets from the future are refused") {
  CHECK(unsupported(onnx_model(99, "(float[1] x) => (float y) { y = Neg(x) }")) ==
        "opset 99 is not supported; supported: 1 to 27");
}

TEST_CASE("attributes that an operator does not have are refused by name") {
  CHECK(
      unsupported(onnx_model(7, "(float[1] x) => (float y) { y = Add <broadcast = 1> (x, x) }")) ==
      "node 'y' (Add): attribute 'broadcast' of version 7 is not supported");
  CHECK(invalid(onnx_model(17, "(float[1] x) => (float y) { y = Concat <axis = 1.0> (x, x) }"))
            .find("is of type FLOAT, expected INT") != std::string::npos);
  CHECK(invalid(onnx_model(17, "(float[1] x) => (float y) { y = Gemm <transA = 2> (x, x) }"))
            .find("'transA' is 2, expected 0 or 1") != std::string::npos);
  CHECK(invalid(
            onnx_model(17, "(float[1] x) => (float y) { y = Concat <axis = 0, axis = 1> (x, x) }"))
            .find("stands twice") != std::string::npos);
  CHECK(invalid(onnx_model(17, "(float[1] x) => (float y) { y = Cast (x) }"))
            .find("'to' is missing") != std::string::npos);
}

TEST_CASE("graphs that do not hang together are refused, naming the node") {
  const auto model = [](const std::string& nodes) {
    return onnx_model(17, "(float[1] x) => (float y) {" + nodes + "}");
  };
  CHECK(invalid(model("y = Add(x, z)")) == "node 'y' (Add) reads 'z', which nothing makes");
  CHECK(invalid(model("a = Add(x, y)  y = Neg(a)")) == "node 'a' (Add) depends on its own result");
  CHECK(invalid(model("y = Neg(x)  y = Abs(x)")) ==
        "node 'y' (Abs) makes 'y', which is there already");
  CHECK(invalid(model("x = Neg(x)  y = Abs(x)")) ==
        "node 'x' (Neg) makes 'x', which is there already");
  CHECK(invalid(model("z = Neg(x)")) == "output 'y' is made by nothing");
  CHECK(invalid(model("y = Add(x)")) == "node 'y' (Add): input 1 is missing");
  CHECK(invalid(model("y = Neg(x, x)")) == "node 'y' (Neg): takes 1 inputs at most, has 2");
  CHECK(invalid(model("y, z = Neg(x)")) == "node 'y' (Neg): makes 1 outputs at most, has 2");
}

TEST_CASE("names that stand twice or not at all are refused") {
  const onnx::ModelProto good =
      onnx_model(17, "(float[1] x) => (float y) <float[1] w = {1}> { y = Add(x, w) }");
  onnx::ModelProto model = good;
  *model.mutable_graph()->add_initializer() = good.graph().initializer(0);
  CHECK(invalid(model) == "initializer 'w' stands twice");
  model = good;
  *model.mutable_graph()->add_input() = good.graph().input(0);
  CHECK(invalid(model) == "input 'x' stands twice");
  model = good;
  *model.mutable_graph()->add_output() = good.graph().output(0);
  CHECK(invalid(model) == "output 'y' stands twice");
  model = good;
  model.mutable_graph()->mutable_initializer(0)->clear_name();
  CHECK(invalid(model) == "an initializer without a name");
  model = good;
  model.mutable_graph()->clear_output();
  CHECK(invalid(model) == "the model has no outputs");
  model = good;
  model.mutable_graph()->mutable_node(0)->clear_output();
  CHECK(invalid(model).find("no outputs") != std::string::npos);
  model = good;
  model.clear_graph();
  CHECK(invalid(model) == "not an ONNX model: it has no graph");
  model = good;
  model.clear_opset_import();
  CHECK(invalid(model).find("declares no version") != std::string::npos);
  model = good;
  *model.add_opset_import() = good.opset_import(0);
  CHECK(invalid(model) == "two versions of operator set ''");
}

TEST_CASE("inputs that are not tensors are refused") {
  onnx::ModelProto model = onnx_model(17, "(float[1] x) => (float y) { y = Neg(x) }");
  model.mutable_graph()->mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(8);
  CHECK(unsupported(model) == "input 'x': element type STRING is not supported");
  model.mutable_graph()->mutable_input(0)->mutable_type()->mutable_sequence_type();
  CHECK(unsupported(model).find("no tensor") != std::string::npos);
}

TEST_CASE("a missing file and bytes that are no model are told apart") {
  const auto missing = import_onnx(std::filesystem::path("/nonexistent/model.onnx"));
  REQUIRE_FALSE(missing);
  CHECK(missing.error().code() == ErrorCode::not_found);
  const auto folder = import_onnx(std::filesystem::path("/"));
  CHECK(folder.error().message() == "is not a regular file");
  const std::string text = "this is not a model";
  const auto garbage = import_onnx(std::as_bytes(std::span(text)));
  CHECK(garbage.error().code() == ErrorCode::invalid_input);
  CHECK(garbage.error().message().starts_with("not an ONNX model"));
  CHECK_FALSE(import_onnx(std::span<const std::byte>{}));
}

}  // namespace
}  // namespace rtai::onnx_io
