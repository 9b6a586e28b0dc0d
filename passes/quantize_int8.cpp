// Stores the weights of linear layers and embedding tables as int8.
//
//   before: linear(%x, @weight f32[n, k], @bias)
//   after:  linear(%x, @weight i8[n, k], @bias, @weight_scale f32[n])
//
// Weights are symmetric in +-127 with a scale for each output channel, tables with one for each
// row. What a linear layer reads is quantized when it runs: with a scale for each token (dynamic),
// or with one for all, taken from the calibration texts (static). Attention quantizes queries, keys
// and values with a scale for each head of each token.
#include "libopt/ir/ops.h"
#include "passes/passes.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "quantize-int8",
    .summary = "stores weights and tables as int8; activations become int8 when they are read",
    .source = "symmetric per-channel weights: Krishnamoorthi 2018, arXiv:1806.08342",
    .exactness = Exactness::approximate,
};

struct Options {
  std::string mode = "dynamic";
  std::string keep_float;
  std::string attention = "int8";

  static constexpr auto fields() {
    return std::tuple{
        option("mode", &Options::mode,
               "dynamic: a scale for each token; static: one scale, from calibration"),
        option("keep-float", &Options::keep_float,
               "names of layers that stay as they are, as shell patterns separated by ';'"),
        option("attention", &Options::attention,
               "int8: queries, keys, values and weights of attention are int8, too; f32: none is")};
  }
};

/// A matrix as integers with a scale for each row.
struct QuantizedMatrix {
  ir::Tensor integers;  // i8[rows, columns]
  ir::Tensor scales;    // f32[rows]
};

/// Chooses one scale per row so that the largest value maps to 127.
///
/// Errors: invalid_input if a row holds NaN or infinity; a row of zeros gets scale 1.
Result<QuantizedMatrix> quantize_rows(const ir::Tensor& matrix) {
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const std::span<const float> values = matrix.data<float>();
  RTAI_TRY(ir::Tensor integers, ir::Tensor::zeros(DType::i8, matrix.dims()));
  RTAI_TRY(ir::Tensor scales, ir::Tensor::zeros(DType::f32, {matrix.dim(0)}));
  const std::span<std::int8_t> dst = integers.mutable_data<std::int8_t>();
  const std::span<float> dst_scales = scales.mutable_data<float>();
  for (std::size_t row = 0; row < dst_scales.size(); ++row) {
    const std::span<const float> src = values.subspan(row * columns, columns);
    float largest = 0;
    for (const float value : src) {
      if (!std::isfinite(value)) {
        return Error{ErrorCode::invalid_input, fmt::format("row {} holds {}", row, value)};
      }
      largest = std::max(largest, std::fabs(value));
    }
    dst_scales[row] = largest > 0 ? largest / 127.0f : 1.0f;
    const float factor = largest > 0 ? 127.0f / largest : 0.0f;
    for (std::size_t i = 0; i < columns; ++i) {
      dst[row * columns + i] = static_cast<std::int8_t>(std::nearbyint(src[i] * factor));
    }
  }
  return QuantizedMatrix{std::move(integers), std::move(scales)};
}

bool matches(const std::string& patterns, const std::string& name) {
  for (std::size_t begin = 0; begin < patterns.size();) {
    const std::size_t end = std::min(patterns.find(';', begin), patterns.size());
    const std::string pattern = patterns.substr(begin, end - begin);
    if (::fnmatch(pattern.c_str(), name.c_str(), 0) == 0) return true;
    begin = end + 1;
  }
  return false;
}

class QuantizeInt8 final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith::configure(values));
    RTAI_TRY_VOID(expect_one_of("mode", chosen().mode, "dynamic", "static"));
    return expect_one_of("attention", chosen().attention, "int8", "f32");
  }

  Result<PassReport> run(ir::Graph& graph, PassContext& context) override {
    Counter linears{.name = "linear layers quantized"};
    Counter tables{.name = "tables quantized"};
    Counter attentions{.name = "attentions in int8"};
    std::vector<ir::NodeId> static_sites;
    for (const ir::NodeId id :
         std::vector<ir::NodeId>(graph.order().begin(), graph.order().end())) {
      const ir::Node& node = graph.node(id);
      if (matches(chosen().keep_float, node.name())) continue;
      if (node.op() == ir::Op::embedding) {
        RTAI_TRY(const int count, quantize_tables(graph, id));
        tables.value += count;
      } else if (node.op() == ir::Op::attention) {
        attentions.value += quantize_attention(graph, id) ? 1 : 0;
      } else if (node.op() == ir::Op::linear) {
        RTAI_TRY(const bool done,
                 quantize_linear(graph, id).in(fmt::format("layer '{}'", node.name())));
        linears.value += done ? 1 : 0;
        if (done) static_sites.push_back(id);
      }
    }
    if (chosen().mode == "static") RTAI_TRY_VOID(calibrate(graph, static_sites, context));
    const bool changed = linears.value + tables.value + attentions.value > 0;
    if (changed) graph.erase_dead();
    return PassReport{.changed = changed, .counters = {linears, tables, attentions}};
  }

 private:
  static Result<void> expect_one_of(std::string_view option,
                                    std::string_view found,
                                    std::string_view first,
                                    std::string_view second) {
    if (found == first || found == second) return {};
    return Error{ErrorCode::invalid_input, fmt::format("option '{}': expected {} or {}, found '{}'",
                                                       option, first, second, found)};
  }

  bool quantize_attention(ir::Graph& graph, ir::NodeId id) const {
    ir::Attributes& attributes = graph.node(id).attributes();
    if (chosen().attention != "int8" || attributes.integer("bits", 0) == 8) return false;
    attributes.set("bits", Index{8});
    return true;
  }

  /// Replaces input `i` of a node by its int8 form and returns the constant with the scales.
  static Result<ir::ValueId> quantize_input(ir::Graph& graph, ir::NodeId id, std::size_t i) {
    const ir::ValueId old = graph.node(id).input(i);
    RTAI_TRY(QuantizedMatrix matrix, quantize_rows(*graph.constant(old)));
    const std::string name = graph.name(old);
    graph.rename(old,
                 name + ".f32");  // goes away at the end, unless another layer keeps it as it is
    const ir::ValueId integers = graph.add_constant(name, std::move(matrix.integers));
    const ir::ValueId scales = graph.add_constant(name + "_scale", std::move(matrix.scales));
    graph.set_input(id, i, integers);
    return scales;
  }

  static bool is_float_matrix(const ir::Graph& graph, ir::ValueId value) {
    const ir::Tensor* tensor = graph.constant(value);
    return tensor != nullptr && tensor->dtype() == DType::f32 && tensor->rank() == 2;
  }

  static Result<bool> quantize_linear(ir::Graph& graph, ir::NodeId id) {
    using L = ir::Linear;
    if (!is_float_matrix(graph, graph.node(id).input(L::weight))) return false;
    RTAI_TRY(const ir::ValueId scales, quantize_input(graph, id, L::weight));
    graph.resize_inputs(id, L::weight_scale + 1);
    graph.set_input(id, L::weight_scale, scales);
    return true;
  }

  static Result<int> quantize_tables(ir::Graph& graph, ir::NodeId id) {
    using E = ir::Embedding;
    int count = 0;
    graph.resize_inputs(id, E::segment_scale + 1);
    for (const std::size_t table : {E::word, E::position, E::segment}) {
      if (!is_float_matrix(graph, graph.node(id).input(table))) continue;
      RTAI_TRY(const ir::ValueId scales, quantize_input(graph, id, table));
      graph.set_input(id, table - E::word + E::word_scale, scales);
      ++count;
    }
    return count;
  }

  /// One scale for what each layer reads: the largest magnitude over the calibration texts.
  static Result<void> calibrate(ir::Graph& graph,
                                const std::vector<ir::NodeId>& sites,
                                PassContext& context) {
    if (context.calibration == nullptr || context.evaluator == nullptr) {
      return Error{ErrorCode::invalid_input, "static quantization needs calibration texts"};
    }
    std::vector<ir::ValueId> sources;
    for (const ir::NodeId id : sites)
      sources.push_back(graph.node(id).input(ir::Linear::src));
    std::vector<float> largest(sites.size(), 0.0f);
    RTAI_TRY_VOID(for_each_batch(graph, *context.calibration, *context.evaluator, sources,
                                 [&](std::span<const ir::Tensor> values, std::span<const Index>) {
                                   for (std::size_t i = 0; i < values.size(); ++i) {
                                     for (const float value : values[i].data<float>()) {
                                       largest[i] = std::max(largest[i], std::fabs(value));
                                     }
                                   }
                                 }));
    for (std::size_t i = 0; i < sites.size(); ++i) {
      if (largest[i] > 0) graph.node(sites[i]).attributes().set("src_scale", largest[i] / 127.0f);
    }
    return {};
  }
};

}  // namespace

std::unique_ptr<Pass> make_quantize_int8() {
  return std::make_unique<QuantizeInt8>();
}

}  // namespace rtai::passes
