// Stores the weights of linear layers and embedding tables as int8.
//
//   before: linear(%x, @weight f32[n, k], @bias)
//   after:  linear(%x, @weight i8[n, k], @bias, @weight_scale f32[n], @src_factor f32[k])
//
// Weights are symmetric in +-127 with a scale for each output channel, tables with one for each
// row. What a linear layer reads is quantized when it runs: with a scale for each token (dynamic),
// or with one for all (static). Where there are calibration texts, its columns get factors that
// leave the smallest error in the layer's results. Attention quantizes queries, keys and values
// with a scale for each head of each token.
//
// mode=auto takes for each layer the static form where its results are as good as the dynamic
// form's. Then it compares the outputs of the whole model with those before; while they are too far
// apart, the layer or attention that brings them closest goes back to f32.
#include "libopt/ir/ops.h"
#include "libopt/prune/judge.h"
#include "libopt/quant/site.h"
#include "libopt/quant/source_sampler.h"
#include "passes/passes.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <map>

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "quantize-int8",
    .summary = "stores weights and tables as int8; activations become int8 when they are read",
    .source = "Krishnamoorthi 2018, arXiv:1806.08342; Xiao et al. 2022, arXiv:2211.10438",
    .exactness = Exactness::approximate,
};

struct Options {
  std::string mode = "dynamic";
  std::string keep_float;
  std::string attention = "int8";
  double static_error = 1;
  double max_divergence = 0.01;

  static constexpr auto fields() {
    return std::tuple{
        option("mode", &Options::mode,
               "dynamic: a scale for each token; static: one scale, from calibration; auto: static "
               "where that is as good, f32 where neither is"),
        option("keep-float", &Options::keep_float,
               "names of layers that stay as they are, as shell patterns separated by ';'"),
        option("attention", &Options::attention,
               "int8: queries, keys, values and weights of attention are int8, too; f32: none is"),
        option(
            "static-error", &Options::static_error, Range{0, 1e6},
            "auto: squared error that a static layer may have, as a multiple of the dynamic one's"),
        option("max-divergence", &Options::max_divergence, Range{0, 1e6},
               "auto: how far the outputs may be from those before, as `prune-obs` measures it")};
  }
};

bool matches(const std::string& patterns, const std::string& name) {
  for (std::size_t begin = 0; begin < patterns.size();) {
    const std::size_t end = std::min(patterns.find(';', begin), patterns.size());
    const std::string pattern = patterns.substr(begin, end - begin);
    if (::fnmatch(pattern.c_str(), name.c_str(), 0) == 0) return true;
    begin = end + 1;
  }
  return false;
}

/// One run of the pass on one graph.
class Quantizer {
 public:
  Quantizer(ir::Graph& graph, const Options& options, PassContext& context)
      : graph_(graph), options_(options), context_(context) {}

  Result<PassReport> run() {
    const ir::Graph before = graph_;
    find_sites();
    const bool has_texts = context_.calibration != nullptr && context_.evaluator != nullptr;
    if (!has_texts && options_.mode != "dynamic") {
      return Error{ErrorCode::invalid_input,
                   fmt::format("{} quantization needs calibration texts",
                               options_.mode == "auto" ? "automatic" : "static")};
    }
    if (has_texts && !linears_.empty()) RTAI_TRY_VOID(sample_sources());
    for (const ir::NodeId id : linears_) {
      RTAI_TRY_VOID(quantize_linear(id).in(fmt::format("layer '{}'", graph_.node(id).name())));
    }
    for (const ir::NodeId id : attentions_) {
      remember(id);
      graph_.node(id).attributes().set("bits", Index{8});
    }
    double tables = 0;
    for (const ir::NodeId id : embeddings_) {
      RTAI_TRY(const int count, quantize_tables(id));
      tables += count;
    }
    PassReport report;
    if (options_.mode == "auto" && !changes_.empty()) RTAI_TRY_VOID(fall_back(before, report));
    report.changed = tables > 0 || !changes_.empty();
    if (report.changed) graph_.erase_dead();
    const auto add = [&](const char* name, double value) {
      report.counters.push_back({.name = name, .value = value});
    };
    add("linear layers quantized", count_changes(ir::Op::linear));
    add("tables quantized", tables);
    add("attentions in int8", count_changes(ir::Op::attention));
    add("linear layers static", count_static());
    return report;
  }

 private:
  /// What a node was before, to go back to.
  struct Change {
    ir::NodeId node;
    std::vector<ir::ValueId> inputs;
    ir::Attributes attributes;
  };

  void find_sites() {
    for (const ir::NodeId id : graph_.order()) {
      const ir::Node& node = graph_.node(id);
      if (matches(options_.keep_float, node.name())) continue;
      if (node.op() == ir::Op::embedding) embeddings_.push_back(id);
      if (node.op() == ir::Op::linear && is_float_matrix(node.input(ir::Linear::weight)))
        linears_.push_back(id);
      if (node.op() == ir::Op::attention && options_.attention == "int8" &&
          node.attributes().integer("bits", 0) != 8) {
        attentions_.push_back(id);
      }
    }
  }

  bool is_float_matrix(ir::ValueId value) const {
    const ir::Tensor* tensor = graph_.constant(value);
    return tensor != nullptr && tensor->dtype() == DType::f32 && tensor->rank() == 2;
  }

  Result<void> sample_sources() {
    std::vector<ir::ValueId> sources;
    for (const ir::NodeId id : linears_)
      sources.push_back(graph_.node(id).input(ir::Linear::src));
    quant::SourceSampler sampler(context_.calibration->tokens(), sources.size());
    RTAI_TRY_VOID(for_each_batch(
        graph_, *context_.calibration, *context_.evaluator, sources,
        [&](std::span<const ir::Tensor> values, std::span<const Index>) { sampler.add(values); }));
    for (std::size_t i = 0; i < linears_.size(); ++i) {
      RTAI_TRY(quant::SourceRows rows,
               sampler.take(i).in(fmt::format("layer '{}'", graph_.node(linears_[i]).name())));
      sources_.emplace(linears_[i], std::move(rows));
    }
    return {};
  }

  /// The best integers for a layer in the mode that was asked for.
  Result<quant::QuantizedSite> choose(ir::NodeId id, const ir::Tensor& weight) {
    const auto source = sources_.find(id);
    if (source == sources_.end()) {
      quant::QuantizedSite site;
      RTAI_TRY(site.weight, quant::quantize_matrix(weight));
      return site;
    }
    if (options_.mode == "dynamic") return quant::quantize_dynamic(weight, source->second);
    RTAI_TRY(quant::QuantizedSite fixed, quant::quantize_static(weight, source->second));
    if (options_.mode == "static") return fixed;
    RTAI_TRY(quant::QuantizedSite dynamic, quant::quantize_dynamic(weight, source->second));
    return fixed.error <= options_.static_error * dynamic.error ? std::move(fixed)
                                                                : std::move(dynamic);
  }

  Result<void> quantize_linear(ir::NodeId id) {
    using L = ir::Linear;
    const ir::ValueId weight = graph_.node(id).input(L::weight);
    remember(id);
    graph_.resize_inputs(id, L::weight_scale + 1);
    // Layers that share a weight (ALBERT) go on sharing it: nothing of one of them may be in it.
    if (graph_.users(weight).size() > 1 || shared_.contains(weight)) {
      RTAI_TRY(const Integers integers, shared_integers(weight));
      graph_.set_input(id, L::weight, integers.values);
      graph_.set_input(id, L::weight_scale, integers.scales);
      return {};
    }
    RTAI_TRY(const quant::QuantizedSite site, choose(id, *graph_.constant(weight)));
    const Integers integers = store(weight, site.weight);
    graph_.set_input(id, L::weight, integers.values);
    graph_.set_input(id, L::weight_scale, integers.scales);
    if (site.src_scale > 0) graph_.node(id).attributes().set("src_scale", site.src_scale);
    const std::string name = graph_.name(integers.values);
    if (!site.src_factor.empty()) {
      graph_.resize_inputs(id, L::src_factor + 1);
      graph_.set_input(id, L::src_factor,
                       graph_.add_constant(name + ".src_factor", vector_of(site.src_factor)));
    }
    shift_bias(id, name, site.bias_shift);
    return {};
  }

  void shift_bias(ir::NodeId id, const std::string& name, const std::vector<float>& shift) {
    if (shift.empty()) return;
    std::vector<float> bias = shift;
    const ir::ValueId old = graph_.node(id).input(ir::Linear::bias);
    if (old != ir::kNoValue) {
      const std::span<const float> values = graph_.constant(old)->data<float>();
      std::ranges::transform(values, bias, bias.begin(), std::plus<>());
    }
    graph_.set_input(id, ir::Linear::bias, graph_.add_constant(name + ".bias", vector_of(bias)));
  }

  static ir::Tensor vector_of(const std::vector<float>& values) {
    return ir::Tensor::from<float>({std::ssize(values)}, values);
  }

  struct Integers {
    ir::ValueId values;
    ir::ValueId scales;
  };

  /// The integers get the name of the floats, which go away at the end unless somebody keeps them.
  Integers store(ir::ValueId old, const quant::QuantizedMatrix& matrix) {
    const std::string name = graph_.name(old);
    graph_.rename(old, name + ".f32");
    return {.values = graph_.add_constant(name, matrix.integers),
            .scales = graph_.add_constant(name + "_scale", matrix.scales)};
  }

  Result<Integers> shared_integers(ir::ValueId weight) {
    if (const auto found = shared_.find(weight); found != shared_.end()) return found->second;
    RTAI_TRY(const quant::QuantizedMatrix matrix, quant::quantize_matrix(*graph_.constant(weight)));
    return shared_[weight] = store(weight, matrix);
  }

  Result<int> quantize_tables(ir::NodeId id) {
    using E = ir::Embedding;
    int count = 0;
    for (const std::size_t table : {E::word, E::position, E::segment}) {
      const ir::ValueId floats = graph_.node(id).input(table);
      if (!is_float_matrix(floats)) continue;
      graph_.resize_inputs(id, E::segment_scale + 1);
      RTAI_TRY(const quant::QuantizedMatrix matrix,
               quant::quantize_matrix(*graph_.constant(floats)));
      const Integers integers = store(floats, matrix);
      graph_.set_input(id, table, integers.values);
      graph_.set_input(id, table - E::word + E::word_scale, integers.scales);
      ++count;
    }
    return count;
  }

  void remember(ir::NodeId id) {
    const ir::Node& node = graph_.node(id);
    changes_.push_back({.node = id,
                        .inputs = {node.inputs().begin(), node.inputs().end()},
                        .attributes = node.attributes()});
  }

  static void undo(ir::Graph& graph, const Change& change) {
    graph.resize_inputs(change.node, change.inputs.size());
    for (std::size_t i = 0; i < change.inputs.size(); ++i)
      graph.set_input(change.node, i, change.inputs[i]);
    graph.node(change.node).attributes() = change.attributes;
  }

  /// Undoes changes, the one that helps most first, until the outputs are near those of `before`.
  Result<void> fall_back(const ir::Graph& before, PassReport& report) {
    RTAI_TRY(prune::Judge judge,
             prune::Judge::make(before, *context_.calibration, *context_.evaluator));
    RTAI_TRY(double divergence, judge.divergence(graph_));
    report.counters.push_back({.name = "divergence of all in int8", .value = divergence});
    while (!(divergence <= options_.max_divergence) && !changes_.empty()) {
      std::optional<std::size_t> best;
      for (std::size_t i = 0; i < changes_.size(); ++i) {
        ir::Graph candidate = graph_;
        undo(candidate, changes_[i]);
        RTAI_TRY(const double left, judge.divergence(candidate));
        if (best && !(left < divergence)) continue;
        best = i;
        divergence = left;
      }
      const Change& change = changes_[*best];
      context_.log->warning(fmt::format("'{}' stays f32: in int8 the outputs change too much",
                                        graph_.node(change.node).name()));
      undo(graph_, change);
      changes_.erase(changes_.begin() + static_cast<std::ptrdiff_t>(*best));
    }
    report.counters.push_back({.name = "divergence", .value = divergence});
    return {};
  }

  double count_changes(ir::Op op) const {
    return static_cast<double>(std::ranges::count_if(
        changes_, [&](const Change& change) { return graph_.node(change.node).op() == op; }));
  }
  double count_static() const {
    return static_cast<double>(std::ranges::count_if(changes_, [&](const Change& change) {
      return graph_.node(change.node).attributes().real("src_scale", 0.0f) > 0;
    }));
  }

  ir::Graph& graph_;
  const Options& options_;
  PassContext& context_;
  std::vector<ir::NodeId> linears_, attentions_, embeddings_;
  std::map<ir::NodeId, quant::SourceRows> sources_;
  std::map<ir::ValueId, Integers> shared_;  // by the floats they were
  std::vector<Change> changes_;             // of linear layers and attentions
};

class QuantizeInt8 final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith::configure(values));
    RTAI_TRY_VOID(expect_one_of("mode", chosen().mode, {"dynamic", "static", "auto"}));
    return expect_one_of("attention", chosen().attention, {"int8", "f32"});
  }

  Result<PassReport> run(ir::Graph& graph, PassContext& context) override {
    return Quantizer(graph, chosen(), context).run();
  }

 private:
  static Result<void> expect_one_of(std::string_view option,
                                    std::string_view found,
                                    std::vector<std::string_view> known) {
    if (std::ranges::find(known, found) != known.end()) return {};
    return Error{ErrorCode::invalid_input, fmt::format("option '{}': expected {}, found '{}'",
                                                       option, fmt::join(known, " or "), found)};
  }
};

}  // namespace

std::unique_ptr<Pass> make_quantize_int8() {
  return std::make_unique<QuantizeInt8>();
}

}  // namespace rtai::passes
