#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"
#include "libopt/ir/text.h"
#include "libopt/pass/pipeline.h"
#include "libopt/prune/judge.h"
#include "passes/passes.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"
#include "tests/support/texts.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <functional>

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

/// A model whose values have one column a thousand times the others, which the output projection
/// takes back: the same function.
ir::Graph model_with_a_loud_column() {
  constexpr Index kColumn = 5;
  ir::Graph graph = testing::make_model();
  ir::name_by_place(graph);
  const auto scale = [&](const char* name, Index first, Index step, Index count, float factor) {
    const ir::ValueId id = *graph.find_value(name);
    ir::Tensor values = *graph.constant(id);
    for (Index i = 0; i < count; ++i)
      values.mutable_data<float>()[static_cast<std::size_t>(first + i * step)] *= factor;
    graph.set_constant(id, values);
  };
  const Index hidden = testing::TinyModel().hidden;
  scale("layer.0.qkv.weight", (2 * hidden + kColumn) * hidden, 1, hidden, 1000);
  scale("layer.0.qkv.bias", 2 * hidden + kColumn, 1, 1, 1000);
  scale("layer.0.attention_out.weight", kColumn, hidden, hidden, 1e-3f);
  return graph;
}

/// A model with some of its numbers changed.
class Changed {
 public:
  Changed() { ir::name_by_place(graph_); }

  Changed& set(const char* name, const std::function<void(std::span<float> values)>& change) {
    const ir::ValueId id = *graph_.find_value(name);
    ir::Tensor values = *graph_.constant(id);
    change(values.mutable_data<float>());
    graph_.set_constant(id, values);
    return *this;
  }
  const ir::Graph& graph() const { return graph_; }

 private:
  ir::Graph graph_ = testing::make_model();
};

struct Quantized {
  ir::Graph graph;
  PassReport report;
  double divergence = 0;  // of the outputs, on other texts

  double counter(std::string_view name) const {
    return std::ranges::find(report.counters, name, &Counter::name)->value;
  }
};

Quantized quantize_on_texts(const ir::Graph& before, const std::string& options) {
  testing::RuntimeEvaluator evaluator;
  const TokenBatch texts = testing::random_texts(40, 101);
  PassContext context{.calibration = &texts, .evaluator = &evaluator};
  Quantized quantized{.graph = before, .report = {}};
  const auto records =
      run_pipeline("quantize-int8" + options, quantized.graph, context, passes::make);
  INFO((records ? "" : records.error().message()));
  REQUIRE(records);
  quantized.report = (*records)[0].report;
  const TokenBatch others = testing::random_texts(40, 101, 9);
  prune::Judge judge = prune::Judge::make(before, others, evaluator).value();
  quantized.divergence = judge.divergence(quantized.graph).value();
  return quantized;
}

TEST_CASE("with texts, dynamic and static quantization survive a loud column") {
  const ir::Graph before = model_with_a_loud_column();
  ir::Graph plain = before;
  REQUIRE(quantize(plain, "{attention=f32}"));
  testing::RuntimeEvaluator evaluator;
  const TokenBatch texts = testing::random_texts(40, 101, 9);
  prune::Judge judge = prune::Judge::make(before, texts, evaluator).value();
  const double blind = judge.divergence(plain).value();
  CHECK(quantize_on_texts(before, "{attention=f32}").divergence < blind / 4);
  const Quantized fixed = quantize_on_texts(before, "{mode=static,attention=f32}");
  CHECK(fixed.counter("linear layers static") == 9);
  CHECK(fixed.divergence < blind / 4);
}

/// The static scale of what a layer reads.
float scale_with(const std::string& calibration) {
  const Quantized fixed =
      quantize_on_texts(testing::make_model(), "{mode=static,calibration=" + calibration + "}");
  const ir::NodeId layer = fixed.graph.nodes_of(ir::Op::linear).front();
  return fixed.graph.node(layer).attributes().real("src_scale", 0.0f);
}

TEST_CASE("the method of calibration decides static scales, the same each time") {
  for (const char* method : {"minmax", "percentile", "mse", "entropy"}) {
    CHECK(scale_with(method) > 0);
    CHECK(scale_with(method) == scale_with(method));
  }
  CHECK(scale_with("percentile,percentile=90") < 0.8f * scale_with("minmax"));
}

TEST_CASE("auto goes back to f32 until the outputs are near enough") {
  const ir::Graph before = testing::make_model();
  const Quantized all = quantize_on_texts(before, "{mode=auto}");
  CHECK(all.counter("linear layers quantized") == 9);
  CHECK(all.counter("divergence") <= 0.01);
  const double limit = all.counter("divergence") / 3;
  const Quantized strict =
      quantize_on_texts(before, "{mode=auto,max-divergence=" + std::to_string(limit) + "}");
  CHECK(strict.counter("divergence") <= limit);
  CHECK(strict.counter("linear layers quantized") + strict.counter("attentions in int8") < 11);
}

/// The share of tokens that get the label they had.
double agreement(const ir::Graph& before, const ir::Graph& after) {
  testing::RuntimeEvaluator evaluator;
  const TokenBatch texts = testing::random_texts(80, 101, 11);
  const auto labels = [&](const ir::Graph& graph) {
    const std::vector<ir::Tensor> inputs = model_inputs(graph, texts);
    const ir::Tensor logits =
        evaluator.run(graph, inputs, texts.offsets, graph.outputs()).value()[0];
    std::vector<std::ptrdiff_t> found;
    for (Index row = 0; row < logits.dim(0); ++row) {
      const auto values = logits.data<float>().subspan(
          static_cast<std::size_t>(row * logits.dim(1)), static_cast<std::size_t>(logits.dim(1)));
      found.push_back(std::ranges::max_element(values) - values.begin());
    }
    return found;
  };
  const auto a = labels(before);
  const auto b = labels(after);
  double same = 0;
  for (std::size_t i = 0; i < a.size(); ++i)
    same += a[i] == b[i] ? 1 : 0;
  return same / static_cast<double>(a.size());
}

/// `auto` keeps the answers: with narrower bounds, as `rtai quantize` tries them, if it must.
void check_auto_holds(const ir::Graph& before) {
  double share = 0;
  for (const char* limit : {"0.01", "0.001", "0.0001", "0.00001", "0.000001"}) {
    const Quantized found =
        quantize_on_texts(before, std::string("{mode=auto,max-divergence=") + limit + "}");
    CHECK(found.counter("divergence") <= std::stod(limit));
    share = agreement(before, found.graph);
    if (share >= 0.99) break;
  }
  CHECK(share >= 0.99);
}

TEST_CASE("auto holds where one channel of a normalization is a thousand times the others") {
  check_auto_holds(
      Changed().set("layer.0.attention_norm.weight", [](auto w) { w[5] *= 1000; }).graph());
  check_auto_holds(Changed().set("layer.0.ffn_norm.weight", [](auto w) { w[7] *= 1000; }).graph());
}

TEST_CASE("auto holds with a head of zeros and with weights that are all the same") {
  constexpr std::size_t kHidden = 64;
  constexpr std::size_t kHead = 16 * kHidden;
  check_auto_holds(Changed()
                       .set("layer.0.qkv.weight",
                            [](std::span<float> w) {
                              for (const std::size_t part : {0u, 1u, 2u})
                                std::ranges::fill(w.subspan(part * 4 * kHead, kHead), 0.0f);
                            })
                       .graph());
  check_auto_holds(Changed()
                       .set("layer.1.ffn_in.weight",
                            [](std::span<float> w) { std::ranges::fill(w.first(kHidden), 0.25f); })
                       .set("layer.1.ffn_out.weight",
                            [](std::span<float> w) { std::ranges::fill(w.first(128), 0.0f); })
                       .graph());
}

TEST_CASE("auto holds where one column of the embedding drowns the others") {
  check_auto_holds(Changed()
                       .set("embedding.word",
                            [](std::span<float> w) {
                              for (std::size_t i = 3; i < w.size(); i += 64)
                                w[i] *= 1000;
                            })
                       .graph());
}

TEST_CASE("auto reports the sensitivity of every layer, attention and table") {
  const Quantized found = quantize_on_texts(testing::make_model(), "{mode=auto}");
  REQUIRE(found.report.tables.size() == 1);
  const FigureTable& sites = found.report.tables[0];
  CHECK(sites.name == "sites");
  CHECK(sites.names.size() == 1 + 2 + 9);
  REQUIRE(sites.rows.size() == sites.names.size());
  for (const std::vector<double>& row : sites.rows)
    CHECK(row[0] > 0);
}

TEST_CASE("weights=int4 gives FFN layers and large tables 4 bits, the rest 8") {
  ir::Graph graph = testing::make_model();
  ir::name_by_place(graph);
  const auto records = quantize(graph, "{weights=int4,group=32}");
  REQUIRE(records);
  const PassReport& report = (*records)[0].report;
  CHECK(report.counters[0].value == 2 * 4 + 1);
  const auto counter = [&](const std::string& name) {
    return std::ranges::find(report.counters, name, &Counter::name)->value;
  };
  CHECK(counter("linear layers in 4 bits") == 2 * 2);
  CHECK(counter("tables in 4 bits") == 2);  // words and positions
  for (const ir::NodeId id : graph.nodes_of(ir::Op::linear)) {
    const ir::Node& node = graph.node(id);
    const bool is_ffn = node.name().find("ffn") != std::string::npos;
    CHECK(node.attributes().integer("weight_group", 0) == (is_ffn ? 32 : 0));
  }
  CHECK_FALSE(quantize(graph, "{weights=int2}"));
  CHECK_FALSE(quantize(graph, "{weights=int4,group=48}"));
}

TEST_CASE("auto takes 4 bits back where the outputs would change too much") {
  const ir::Graph before = testing::make_model();
  const auto packed = [](const Quantized& found) {
    return found.counter("linear layers in 4 bits");
  };
  const Quantized loose = quantize_on_texts(before, "{mode=auto,weights=int4,max-divergence=10}");
  CHECK(packed(loose) == 4);
  const double limit = 0.3 * loose.counter("divergence of all in int8");
  const Quantized strict = quantize_on_texts(
      before, "{mode=auto,weights=int4,max-divergence=" + std::to_string(limit) + "}");
  CHECK(strict.counter("divergence") <= limit);
  CHECK(packed(strict) < 4);
  CHECK(strict.counter("linear layers quantized") == 9);  // int8 is enough
}

TEST_CASE("a bias or normalization that is not a number is refused by name") {
  ir::Graph graph = Changed().set("layer.1.ffn_norm.bias", [](auto b) { b[2] = NAN; }).graph();
  const auto status = quantize(graph);
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::invalid_input);
  CHECK(status.error().message() == "quantize-int8: 'layer.1.ffn_norm.bias' holds nan at 2");
}

TEST_CASE("layers that share a weight share its integers") {
  ir::Graph graph = ir::parse(R"(
    graph (%x: f32[tokens, 2]) {
      @w: f32[2, 2] = [1, 2, 3, 4]
      %y = linear(%x, @w)
      %z = linear(%y, @w)
      return %z
    })")
                        .value();
  REQUIRE(quantize(graph));
  const std::vector<ir::NodeId> layers = graph.nodes_of(ir::Op::linear);
  CHECK(graph.node(layers[0]).input(1) == graph.node(layers[1]).input(1));
  CHECK(graph.type(graph.node(layers[0]).input(1)).dtype == DType::i8);
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
  const auto calibration = quantize(graph, "{calibration=max}");
  REQUIRE_FALSE(calibration);
  CHECK(calibration.error().message() ==
        "quantize-int8: option 'calibration': expected minmax or percentile or mse or entropy, "
        "found 'max'");
  const auto arithmetic = quantize(graph, "{attention=int4}");
  REQUIRE_FALSE(arithmetic);
  CHECK(arithmetic.error().message() ==
        "quantize-int8: option 'attention': expected int8 or f32, found 'int4'");
}

}  // namespace
}  // namespace rtai
