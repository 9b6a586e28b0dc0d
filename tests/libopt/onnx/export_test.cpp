#include "libopt/onnx/export.h"

#include "libopt/ir/text.h"
#include "libopt/onnx/import.h"
#include "tests/libopt/reference/apply.h"
#include "tests/support/onnx_text.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

namespace rtai::onnx_io {
namespace {

using ir::Tensor;

// Sequences of different lengths, as packed rows and as a padded batch.
const std::vector<Index> kLengths = {5, 1, 3};
constexpr Index kPadded = 6;
constexpr Index kVocab = 11;

ir::Graph parse(const std::string& text) {
  auto graph = ir::parse(text);
  INFO((graph ? "" : graph.error().message()));
  REQUIRE(graph);
  return *std::move(graph);
}

struct Packed {
  std::vector<Tensor> inputs;
  std::vector<Index> offsets = {0};
};

std::int32_t id_at(Index sequence, Index place) {
  return static_cast<std::int32_t>((7 * sequence + 3 * place + 1) % kVocab);
}

Packed packed_inputs(std::size_t count) {
  Packed packed;
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> segments;
  for (Index s = 0; s < std::ssize(kLengths); ++s) {
    for (Index t = 0; t < kLengths[static_cast<std::size_t>(s)]; ++t) {
      ids.push_back(id_at(s, t));
      segments.push_back(t > 1 ? 1 : 0);
    }
    packed.offsets.push_back(std::ssize(ids));
  }
  packed.inputs = {reference::i32({std::ssize(ids)}, ids),
                   reference::i32({std::ssize(ids)}, segments)};
  packed.inputs.resize(count);
  return packed;
}

/// By the names of the model's inputs.
std::vector<Tensor> padded_inputs(const ir::Graph& model) {
  const Index batch = std::ssize(kLengths);
  std::vector<Tensor> inputs;
  for (const ir::ValueId input : model.inputs()) {
    std::vector<std::int64_t> values;
    for (Index s = 0; s < batch; ++s) {
      for (Index t = 0; t < kPadded; ++t) {
        const bool real = t < kLengths[static_cast<std::size_t>(s)];
        const std::string& name = model.name(input);
        if (name == "input_ids")
          values.push_back(real ? id_at(s, t) : 0);
        else if (name == "attention_mask")
          values.push_back(real ? 1 : 0);
        else
          values.push_back(real && t > 1 ? 1 : 0);
      }
    }
    inputs.push_back(reference::i64({batch, kPadded}, values));
  }
  return inputs;
}

/// Compares rows of tokens, or of sequences, with those of the padded batch. Sums of large parts
/// may be small: the tolerance is relative to each element, and to the largest one as well.
void check_rows(const Tensor& packed, const Tensor& padded, bool token_rows, double tolerance) {
  const Index columns = packed.dim(1);
  double largest = 1;
  for (Index i = 0; i < packed.elements(); ++i)
    largest = std::max(largest, std::abs(packed.value(i)));
  Index row = 0;
  for (Index s = 0; s < std::ssize(kLengths); ++s) {
    for (Index t = 0; t < (token_rows ? kLengths[static_cast<std::size_t>(s)] : 1); ++t, ++row) {
      const Index place = token_rows ? s * kPadded + t : s;
      for (Index c = 0; c < columns; ++c) {
        INFO("sequence " << s << ", token " << t << ", column " << c);
        REQUIRE(
            padded.value(place * columns + c) ==
            Approx(packed.value(row * columns + c)).epsilon(tolerance).margin(tolerance * largest));
      }
    }
  }
}

/// Exports, imports and runs both; returns the imported model for a closer look.
ir::Graph check_round_trip(const std::string& text,
                           double tolerance = 1e-5,
                           DynamicScale dynamic_scale = DynamicScale::row) {
  const ir::Graph graph = parse(text);
  const auto bytes =
      export_onnx(graph, {.producer_version = "1.2", .dynamic_scale = dynamic_scale});
  INFO((bytes ? "" : bytes.error().message()));
  REQUIRE(bytes);
  if (const char* folder = std::getenv("RTAI_KEEP_EXPORTED")) {  // to try other runtimes on them
    static int count = 0;
    std::ofstream file(fmt::format("{}/{}.onnx", folder, count++), std::ios::binary);
    file.write(reinterpret_cast<const char*>(bytes->data()), std::ssize(*bytes));
  }
  auto model = import_onnx(*bytes);
  INFO((model ? "" : model.error().message()));
  REQUIRE(model);

  const Packed packed = packed_inputs(graph.inputs().size());
  const auto expected = reference::interpret(graph, packed.inputs, {.offsets = packed.offsets});
  const auto actual = reference::interpret(*model, padded_inputs(*model));
  INFO((actual ? "" : actual.error().message()));
  REQUIRE(expected);
  REQUIRE(actual);
  REQUIRE(actual->size() == expected->size());
  for (std::size_t i = 0; i < expected->size(); ++i) {
    CHECK(model->name(model->outputs()[i]) == graph.name(graph.outputs()[i]));
    const bool token_rows = graph.type(graph.outputs()[i]).dims->front() == ir::Dim("tokens");
    check_rows(expected->at(i), actual->at(i), token_rows, tolerance);
  }
  return *std::move(model);
}

std::vector<std::string> input_names(const ir::Graph& model) {
  std::vector<std::string> names;
  for (const ir::ValueId input : model.inputs())
    names.push_back(model.name(input));
  return names;
}

const std::string kEmbedding = R"(
    @word: f32[11, 8] = random
    @position: f32[8, 8] = random
    @ln_w: f32[8] = random
    @ln_b: f32[8] = random
    %e = embedding(%ids, none, @word, @position)
    %n = layer_norm(%e, @ln_w, @ln_b) {epsilon = 1e-12}
)";

/// One encoder layer on %n whose heads do not fill the hidden size, as after pruning; result %out.
std::string layer(const std::string& activation, const std::string& attention_attributes = "") {
  return fmt::format(R"(
    @w_qkv: f32[18, 8] = random
    @b_qkv: f32[18] = random
    @w_out: f32[8, 6] = random
    @w_in: f32[5, 8] = random
    @b_in: f32[5] = random
    @w_ffn: f32[8, 5] = random
    @b_ffn: f32[8] = random
    %qkv = linear(%n, @w_qkv, @b_qkv)
    %ctx = attention(%qkv) {{heads = 3, head_dim = 2, scale = 0.7071{}}}
    %o = linear(%ctx, @w_out)
    %r1 = add(%o, %n)
    %n1 = layer_norm(%r1, @ln_w, @ln_b) {{epsilon = 1e-12}}
    %i = linear(%n1, @w_in, @b_in)
    %g = activation(%i) {{kind = {}}}
    %f = linear(%g, @w_ffn, @b_ffn)
    %r2 = add(%f, %n1)
    %out = layer_norm(%r2, @ln_w, @ln_b) {{epsilon = 1e-5}}
)",
                     attention_attributes, activation);
}

TEST_CASE("an encoder with pruned heads answers the same from a padded batch") {
  const ir::Graph model =
      check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding + layer("gelu") + R"(
    @w: f32[4, 8] = random
    @b: f32[4] = random
    %logits = linear(%out, @w, @b)
    return %logits
  })");
  CHECK(input_names(model) == std::vector<std::string>{"input_ids", "attention_mask"});
  CHECK(to_string(model.type(model.inputs()[0])) == "i64[batch, seq]");
  CHECK(to_string(model.type(model.outputs()[0])) == "f32[batch, seq, 4]");
  CHECK(model.metadata().at("producer") == "rtai 1.2");
  CHECK(model.metadata().at("opset") == "17");
}

TEST_CASE("every activation is exported") {
  for (const char* kind : {"gelu", "gelu_tanh", "relu", "tanh", "sigmoid", "silu"}) {
    INFO(kind);
    check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding + layer(kind) + "return %out }");
  }
}

TEST_CASE("attention to earlier tokens alone is exported") {
  check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding + layer("gelu", ", causal = 1") +
                   "return %out }");
}

TEST_CASE("biases by distance are exported as a table that is read by it") {
  std::string text = "graph (%ids: i32[tokens]) {" + kEmbedding + layer("gelu") + "return %out }";
  text.replace(text.find("attention(%qkv)"), 15, "attention(%qkv, @bias)");
  text.insert(text.find("%qkv ="), "@bias: f32[3, 61] = random\n    ");
  check_round_trip(text);
  text.replace(text.find("attention(%qkv, @bias)"), 22, "attention(%qkv, @bias, @rk, @rq)");
  text.insert(text.find("%qkv ="), "@rk: f32[6, 61] = random\n    @rq: f32[6, 61] = random\n    ");
  check_round_trip(text);
}

TEST_CASE("int8 attention is exported with its rounding") {
  // The engine's 2^x is a polynomial of relative error 7.5e-5: few weights round the other way.
  constexpr double kExponential = 2e-3;
  const ir::Graph model = check_round_trip(
      "graph (%ids: i32[tokens]) {" + kEmbedding + layer("gelu", ", bits = 8") + "return %out }",
      kExponential);
  CHECK(model.nodes_of(ir::Op::round).size() == 4);
  check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding +
                       layer("gelu", ", bits = 8, causal = 1") + "return %out }",
                   kExponential);
}

TEST_CASE("int8 attention is exported as attention in floats where batches share scales") {
  constexpr double kRounding = 0.1;  // of integers, through the layer
  const ir::Graph model = check_round_trip(
      "graph (%ids: i32[tokens]) {" + kEmbedding + layer("gelu", ", bits = 8") + "return %out }",
      kRounding, DynamicScale::batch);
  CHECK(model.nodes_of(ir::Op::round).empty());
}

TEST_CASE("segments become token_type_ids, offsets of positions are kept") {
  const ir::Graph model = check_round_trip(R"(graph (%ids: i32[tokens], %segments: i32[tokens]) {
    @word: f32[11, 4] = random
    @position: f32[9, 4] = random
    @segment: f32[2, 4] = random
    %logits = embedding(%ids, %segments, @word, @position, @segment) {position_offset = 2}
    return %logits
  })");
  CHECK(input_names(model) ==
        std::vector<std::string>{"input_ids", "attention_mask", "token_type_ids"});
}

TEST_CASE("pooled outputs are one row of each sequence") {
  const ir::Graph model = check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding + R"(
    %first = first_token(%n)
    %mean = mean_pool(%n)
    %unit = l2_normalize(%mean)
    @w: f32[3, 8] = random
    %logits = linear(%first, @w)
    return %logits, %unit, %n
  })");
  CHECK(to_string(model.type(model.outputs()[0])) == "f32[batch, 3]");
  CHECK(to_string(model.type(model.outputs()[1])) == "f32[batch, 8]");
  CHECK(to_string(model.type(model.outputs()[2])) == "f32[batch, seq, 8]");
}

TEST_CASE("single columns cut out of a result are exported as question answering has them") {
  const ir::Graph model = check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding + R"(
    %start_logits = columns(%n) {begin = 0, end = 1}
    %end_logits = columns(%n) {begin = 1, end = 2}
    %both = columns(%n) {begin = 0, end = 2}
    return %start_logits, %end_logits, %both
  })");
  CHECK(to_string(model.type(model.outputs()[0])) == "f32[batch, seq]");
  CHECK(to_string(model.type(model.outputs()[1])) == "f32[batch, seq]");
  CHECK(to_string(model.type(model.outputs()[2])) == "f32[batch, seq, 2]");
}

TEST_CASE("a value that is an output and read by others is exported once") {
  const ir::Graph model = check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding + R"(
    @w: f32[3, 8] = random
    %a = linear(%n, @w)
    %b = activation(%a) {kind = relu}
    return %n, %b
  })");
  CHECK(model.nodes_of(ir::Op::layer_normalization).size() == 1);
  CHECK(model.nodes_of(ir::Op::identity).empty());
}

const std::string kInt8 = R"(
    @word: i8[11, 8] = random
    @word_scale: f32[11] = random
    @position: i8[8, 8] = random
    @position_scale: f32[8] = random
    @w1: i8[6, 8] = random
    @s1: f32[6] = random
    @b1: f32[6] = random
    @w2: i8[3, 6] = random
    @s2: f32[3] = random
    %e = embedding(%ids, none, @word, @position, none, @word_scale, @position_scale)
)";

TEST_CASE("dynamic int8 linears agree to the last bits") {
  const ir::Graph model = check_round_trip("graph (%ids: i32[tokens]) {" + kInt8 + R"(
    %a = linear(%e, @w1, @b1, @s1)
    %r = activation(%a) {kind = relu}
    %logits = linear(%r, @w2, none, @s2)
    return %logits
  })",
                                           1e-6);
  CHECK(model.nodes_of(ir::Op::matmul_integer).size() == 2);
  for (const ir::ValueId id : model.constants()) {
    CHECK(model.constant(id)->dtype() != DType::f64);
  }
}

TEST_CASE("dynamic int8 linears with one scale for the batch stay close") {
  const ir::Graph model = check_round_trip("graph (%ids: i32[tokens]) {" + kInt8 + R"(
    %logits = linear(%e, @w1, @b1, @s1)
    return %logits
  })",
                                           0.05, DynamicScale::batch);
  CHECK(model.nodes_of(ir::Op::dynamic_quantize_linear).size() == 1);
  CHECK(model.nodes_of(ir::Op::matmul_integer).size() == 1);
}

TEST_CASE("static int8 linears are exported as QDQ") {
  const ir::Graph model = check_round_trip("graph (%ids: i32[tokens]) {" + kInt8 + R"(
    %a = linear(%e, @w1, @b1, @s1) {src_scale = 1.5}
    %logits = linear(%a, @w2, none, @s2) {src_scale = 90.5}
    return %logits
  })",
                                           1e-4);
  CHECK(model.nodes_of(ir::Op::quantize_linear).size() == 2);
  CHECK(model.nodes_of(ir::Op::dequantize_linear).size() == 4);
}

TEST_CASE("weights that several nodes share are stored once") {
  const ir::Graph model = check_round_trip("graph (%ids: i32[tokens]) {" + kEmbedding + R"(
    @w: f32[8, 8] = random
    %a = linear(%n, @w)
    %b = linear(%a, @w)
    return %b
  })");
  const auto weights = model.constants();
  CHECK(std::count_if(weights.begin(), weights.end(), [&](ir::ValueId id) {
          return model.constant(id)->dims() == ir::Dims{8, 8} && model.name(id).starts_with("w");
        }) == 1 + 0);
}

TEST_CASE("names of inputs, outputs and weights cannot clash") {
  const ir::Graph model = check_round_trip(R"(graph (%ids: i32[tokens]) {
    @input_ids: f32[11, 4] = random
    @attention_mask: f32[4, 4] = random
    @const.1: f32[4] = random
    %x = embedding(%ids, none, @input_ids)
    %x/result = linear(%x, @attention_mask, @const.1)
    %y = activation(%x/result) {kind = gelu}
    return %y
  })");
  CHECK(input_names(model) == std::vector<std::string>{"input_ids", "attention_mask"});
}

TEST_CASE("the same graph gives the same bytes") {
  const std::string text =
      "graph (%ids: i32[tokens]) {" + kEmbedding + layer("gelu") + "return %out }";
  CHECK(export_onnx(parse(text)).value() == export_onnx(parse(text)).value());
}

TEST_CASE("what is not of the transformer level is refused") {
  const auto refused = [](const std::string& text) {
    const auto bytes = export_onnx(parse(text));
    REQUIRE_FALSE(bytes);
    CHECK(bytes.error().code() == ErrorCode::unsupported);
    return bytes.error().message();
  };
  CHECK(refused("graph (%x: f32[2]) { %y = neg(%x) : f32[2]  return %y }") ==
        "node 'y': 'neg' is not of the transformer level");
  CHECK(refused("graph (%x: f32[tokens, 2]) { %y = add(%x, %x) : f32[tokens, 2]  return %y }")
            .find("does not work on rows") != std::string::npos);
  CHECK(refused("graph (%ids: i32[tokens]) { return %ids }") == "output 'ids' is not computed");
  CHECK(refused(R"(graph (%ids: i32[tokens]) { @w: f32[2, 2] = random
    %input_ids = embedding(%ids, none, @w)  return %input_ids })")
            .find("name of an input") != std::string::npos);
}

}  // namespace
}  // namespace rtai::onnx_io
