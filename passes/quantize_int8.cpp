// Stores the weights of linear layers and embedding tables as int8.
//
//   before: linear(%x, @weight f32[n, k], @bias)
//   after:  linear(%x, @weight i8[n, k], @bias, @weight_scale f32[n], @src_factor f32[k])
//
// Weights are symmetric in +-127 with a scale for each output channel, tables with one for each
// row. What a linear layer reads is quantized when it runs: with a scale for each token (dynamic),
// or with one for all (static), chosen by a method of calibration. Where there are calibration
// texts, its columns get factors that leave the smallest error in the layer's results. Attention
// quantizes queries, keys and values with a scale for each head of each token.
//
// mode=auto takes for each layer the static form where its results are as good as the dynamic
// form's. It measures how sensitive the outputs are to each layer, attention and table, and what
// each costs. While the outputs of the whole model are too far from those before, the one that
// promises most for its price goes to a finer form: static, dynamic, weights of 16 bits, f32.
//
// weights=int4 gives FFN layers and large tables weights of 4 bits with a multiplier for each group
// of a row (attributes weight_group, word_group, ...). Their products are int8 and computed with as
// such; engines store them in half the bytes. In auto, int8 is the next form.
#include "libopt/ir/encoder.h"
#include "libopt/ir/extract.h"
#include "libopt/ir/ops.h"
#include "libopt/prune/judge.h"
#include "libopt/prune/texts.h"
#include "libopt/quant/groups.h"
#include "libopt/quant/ladder.h"
#include "libopt/quant/site.h"
#include "libopt/quant/source_sampler.h"
#include "passes/passes.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

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
  std::string weights = "int8";
  Index group = 64;
  std::string calibration = "mse";
  double percentile = quant::Calibration().percentile;

  static constexpr auto fields() {
    return std::tuple{
        option("mode", &Options::mode,
               "dynamic: a scale for each token; static: one scale, from calibration; auto: static "
               "where that is as good, finer forms where neither is"),
        option("keep-float", &Options::keep_float,
               "names of layers that stay as they are, as shell patterns separated by ';'"),
        option("attention", &Options::attention,
               "int8: queries, keys, values and weights of attention are int8, too; f32: none is"),
        option(
            "static-error", &Options::static_error, Range{0, 1e6},
            "auto: squared error that a static layer may have, as a multiple of the dynamic one's"),
        option("max-divergence", &Options::max_divergence, Range{0, 1e6},
               "auto: how far the outputs may be from those before, as `prune-obs` measures it"),
        option("weights", &Options::weights,
               "int4: FFN layers and tables are stored in 4 bits; int8: none is"),
        option("group", &Options::group, Range{32, 128},
               "int4: weights of a row that share a multiplier: 32, 64 or 128"),
        option("calibration", &Options::calibration,
               "how static scales are chosen: minmax, percentile, mse or entropy"),
        option("percentile", &Options::percentile, Range{90, 100},
               "calibration=percentile: how many % of the magnitudes a static scale covers")};
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
    RTAI_TRY_VOID(expect_numbers());
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
      const quant::Rung before = quant::rung_of(graph_, id, "f32", 32);
      graph_.node(id).attributes().set("bits", Index{8});
      sites_.push_back({.node = id, .rungs = {quant::rung_of(graph_, id, "int8", 8), before}});
    }
    double tables = 0;
    for (const ir::NodeId id : embeddings_) {
      RTAI_TRY(const int count, quantize_tables(id));
      tables += count;
    }
    PassReport report;
    report.changed = tables > 0 || !sites_.empty();
    if (options_.mode == "auto" && !sites_.empty()) RTAI_TRY_VOID(settle(report));
    if (report.changed) graph_.erase_dead();
    const auto add = [&](const char* name, double value) {
      report.counters.push_back({.name = name, .value = value});
    };
    add("linear layers quantized", count(ir::Op::linear));
    add("tables quantized", tables);
    add("attentions in int8", count(ir::Op::attention));
    add("linear layers static", count_static());
    if (wants_int4()) {
      add("linear layers in 4 bits", count_packed(ir::Op::linear, {"weight_group"}));
      add("tables in 4 bits", count_packed(ir::Op::embedding, {ir::Embedding::kGroups.begin(),
                                                               ir::Embedding::kGroups.end()}));
      if (report.tables.empty()) name_sites(report);
    }
    return report;
  }

 private:
  /// Weights of layers are checked when they are rounded; a bias or a normalization is not.
  Result<void> expect_numbers() const {
    for (const ir::ValueId id : graph_.constants()) {
      const ir::Tensor& tensor = *graph_.constant(id);
      if (tensor.dtype() != DType::f32 || tensor.rank() == 2) continue;
      for (Index i = 0; i < tensor.elements(); ++i) {
        if (std::isfinite(tensor.value(i))) continue;
        return Error{ErrorCode::invalid_input,
                     fmt::format("'{}' holds {} at {}", graph_.name(id), tensor.value(i), i)};
      }
    }
    return {};
  }

  struct Integers {
    ir::ValueId values;
    ir::ValueId scales;
  };

  quant::Calibration calibration() const {
    return {.method = quant::calibration_method(options_.calibration).value(),
            .percentile = options_.percentile};
  }

  bool wants_int4() const { return options_.weights == "int4"; }

  /// Whether weights take 4 bits, as a group, or 8, as 0: what was asked for first, and what auto
  /// falls back to.
  std::vector<Index> groups_for(bool may_be_packed) const {
    if (!wants_int4() || !may_be_packed) return {0};
    if (options_.mode == "auto") return {options_.group, 0};
    return {options_.group};
  }
  static int bits_of(Index group) { return group > 0 ? 4 : 8; }
  static std::string name_of(Index group) { return fmt::format("int{}", bits_of(group)); }

  void find_sites() {
    for (const ir::EncoderLayer& layer : ir::find_layers(graph_)) {
      if (layer.ffn) ffn_.insert({layer.ffn->in, layer.ffn->out});
    }
    for (const ir::NodeId id : graph_.order()) {
      const ir::Node& node = graph_.node(id);
      if (matches(options_.keep_float, node.name())) continue;
      if (node.op() == ir::Op::embedding) embeddings_.push_back(id);
      if (node.op() == ir::Op::linear && is_float_matrix(node.input(ir::Linear::weight)))
        linears_.push_back(id);
      if (node.op() == ir::Op::attention && options_.attention == "int8" &&
          node.attributes().integer("bits", 0) != 8 &&
          node.inputs().size() == 1) {  // int8 attention knows no distances
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
    // Rounding in turn reads more from the rows than scales do: with 512 of them the logits' error
    // of MiniLM-L6 was a fifth larger.
    const Index kept = wants_int4() ? 2048 : 512;
    quant::SourceSampler sampler(context_.calibration->tokens(), sources.size(), kept);
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

  /// rows [m, k] times weight [n, k] transposed, by the executor's kernels.
  Result<ir::Tensor> multiply(ir::NodeId id, const ir::Tensor& rows, const ir::Tensor& weight) {
    using L = ir::Linear;
    const ir::ValueId src = graph_.node(id).input(L::src);
    const ir::ValueId result = graph_.result(id);
    ir::Graph layer = ir::extract(graph_, std::span(&src, 1), std::span(&result, 1));
    const ir::NodeId node = layer.order().front();
    layer.resize_inputs(node, L::weight + 1);
    layer.set_input(node, L::weight, layer.add_constant("other", weight));
    layer.node(node).attributes() = {};
    // A sequence of one token each: then rows of tokens and rows of sequences are as many.
    std::vector<Index> offsets(static_cast<std::size_t>(rows.dim(0)) + 1);
    std::iota(offsets.begin(), offsets.end(), Index{0});
    RTAI_TRY(std::vector<ir::Tensor> results,
             context_.evaluator->run(layer, std::span(&rows, 1), offsets, layer.outputs()));
    return std::move(results.front());
  }

  /// The forms a layer may take in the mode that was asked for, the cheapest first.
  struct Form {
    std::string name;
    quant::QuantizedSite site;
  };
  Result<std::vector<Form>> forms_of(ir::NodeId id, const ir::Tensor& weight, Index group) {
    std::vector<Form> forms;
    const auto source = sources_.find(id);
    if (source == sources_.end()) {
      quant::QuantizedSite site;
      RTAI_TRY(site.weight, rounded(weight, group));
      forms.push_back({name_of(group) + " dynamic", std::move(site)});
      return forms;
    }
    const quant::WantedForms wanted = options_.mode == "dynamic"  ? quant::WantedForms::dynamic
                                      : options_.mode == "static" ? quant::WantedForms::fixed
                                                                  : quant::WantedForms::both;
    const quant::Product product = [&](const ir::Tensor& rows, const ir::Tensor& other) {
      return multiply(id, rows, other);
    };
    RTAI_TRY(quant::QuantizedForms found,
             quant::quantize_linear(weight, source->second, wanted, product, group, calibration()));
    const bool takes_fixed =
        !found.dynamic ||
        (found.fixed && found.fixed->error <= options_.static_error * found.dynamic->error);
    if (takes_fixed) forms.push_back({name_of(group) + " static", *std::move(found.fixed)});
    if (found.dynamic) forms.push_back({name_of(group) + " dynamic", *std::move(found.dynamic)});
    return forms;
  }

  static Result<quant::QuantizedMatrix> rounded(const ir::Tensor& matrix, Index group) {
    return group > 0 ? quant::quantize_groups(matrix, group) : quant::quantize_matrix(matrix);
  }

  Result<void> quantize_linear(ir::NodeId id) {
    using L = ir::Linear;
    const ir::ValueId weight = graph_.node(id).input(L::weight);
    const quant::Rung before = quant::rung_of(graph_, id, "f32", 32);
    quant::Site site{.node = id, .rungs = {}};
    // Layers that share a weight (ALBERT) go on sharing it: nothing of one of them may be in it.
    if (graph_.users(weight).size() > 1 || shared_.contains(weight)) {
      for (const Index group : groups_for(ffn_.contains(id))) {
        RTAI_TRY(const Integers integers, shared_integers(weight, group));
        set_weight(id, integers, group);
        site.rungs.push_back(
            quant::rung_of(graph_, id, name_of(group) + " dynamic", bits_of(group)));
      }
    } else {
      std::string name = graph_.name(weight);
      for (const Index group : groups_for(ffn_.contains(id))) {
        RTAI_TRY(std::vector<Form> forms, forms_of(id, *graph_.constant(weight), group));
        // Static in 8 bits is nearer than dynamic in 4, and takes no longer.
        if (group > 0 && options_.mode == "auto") forms.resize(1);
        graph_.rename(weight, name + "_f32");
        for (const Form& form : forms) {
          site.rungs.push_back(before);
          quant::put(graph_, site, site.rungs.size() - 1);
          fill(id, name, form.site, group);
          site.rungs.back() = quant::rung_of(graph_, id, form.name, bits_of(group));
        }
        quant::put(graph_, {.node = id, .rungs = {before}}, 0);
      }
    }
    if (options_.mode == "auto") site.rungs.push_back(narrow(id, before, weight));
    site.rungs.push_back(before);
    quant::put(graph_, site, 0);
    sites_.push_back(std::move(site));
    return {};
  }

  /// The layer as it was, but for weights of 16 bits.
  quant::Rung narrow(ir::NodeId id, const quant::Rung& before, ir::ValueId weight) {
    auto [found, is_new] = narrow_.try_emplace(weight, ir::kNoValue);
    if (is_new) {
      found->second = graph_.add_constant(graph_.name(weight) + "_bf16",
                                          graph_.constant(weight)->converted(DType::bf16));
    }
    quant::Site site{.node = id, .rungs = {before}};
    quant::put(graph_, site, 0);
    graph_.set_input(id, ir::Linear::weight, found->second);
    return quant::rung_of(graph_, id, "bf16", 16);
  }

  void set_weight(ir::NodeId id, const Integers& integers, Index group) {
    using L = ir::Linear;
    graph_.resize_inputs(id, L::weight_scale + 1);
    graph_.set_input(id, L::weight, integers.values);
    graph_.set_input(id, L::weight_scale, integers.scales);
    set_group(id, "weight_group", group);
  }

  void set_group(ir::NodeId id, const char* attribute, Index group) {
    if (group > 0) graph_.node(id).attributes().set(attribute, group);
  }

  void fill(ir::NodeId id,
            const std::string& wanted_name,
            const quant::QuantizedSite& site,
            Index group) {
    using L = ir::Linear;
    const Integers integers = store(wanted_name, site.weight);
    set_weight(id, integers, group);
    if (site.src_scale > 0) graph_.node(id).attributes().set("src_scale", site.src_scale);
    const std::string name = graph_.name(integers.values);
    if (!site.src_factor.empty()) {
      graph_.resize_inputs(id, L::src_factor + 1);
      graph_.set_input(id, L::src_factor,
                       graph_.add_constant(name + ".src_factor", vector_of(site.src_factor)));
    }
    shift_bias(id, name, site.bias_shift);
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

  /// The integers get the name of the floats, which go away at the end unless somebody keeps them.
  Integers store(const std::string& name, const quant::QuantizedMatrix& matrix) {
    return {.values = graph_.add_constant(name, matrix.integers),
            .scales = graph_.add_constant(name + "_scale", matrix.scales)};
  }

  Result<Integers> shared_integers(ir::ValueId weight, Index group) {
    std::map<Index, Integers>& known = shared_[weight];
    if (const auto found = known.find(group); found != known.end()) return found->second;
    RTAI_TRY(const quant::QuantizedMatrix matrix, rounded(*graph_.constant(weight), group));
    return known[group] = store(free_name(weight), matrix);
  }

  /// The name of floats for their integers: floats that are left over get another.
  std::string free_name(ir::ValueId floats) {
    constexpr std::string_view kEnding = "_f32";
    const auto [found, is_new] = names_.try_emplace(floats, graph_.name(floats));
    if (is_new) graph_.rename(floats, found->second + std::string(kEnding));
    return found->second;
  }

  Result<int> quantize_tables(ir::NodeId id) {
    const quant::Rung before = quant::rung_of(graph_, id, "f32", 32);
    quant::Site site{.node = id, .rungs = {}};
    int count = 0;
    for (const Index group : groups_for(true)) {
      site.rungs.push_back(before);
      quant::put(graph_, site, site.rungs.size() - 1);
      RTAI_TRY(count, fill_tables(id, group));
      site.rungs.back() = quant::rung_of(graph_, id, name_of(group), bits_of(group));
    }
    site.rungs.push_back(before);
    quant::put(graph_, site, 0);
    if (count > 0) sites_.insert(sites_.begin(), std::move(site));
    return count;
  }

  Result<int> fill_tables(ir::NodeId id, Index group) {
    using E = ir::Embedding;
    // Half the bytes of a few rows are nothing, and what they lose is in every token: MiniLM's
    // positions in 4 bits are 0.7 % of the file and a sixth of the logits' error.
    constexpr Index kFew = 8;
    const ir::Tensor* words = graph_.constant(graph_.node(id).input(E::word));
    const Index least_rows = words == nullptr ? 0 : words->dim(0) / kFew;
    int count = 0;
    for (const std::size_t table : {E::word, E::position, E::segment}) {
      const ir::ValueId floats = graph_.node(id).input(table);
      if (!is_float_matrix(floats)) continue;
      graph_.resize_inputs(id, E::segment_scale + 1);
      const Index table_group = graph_.constant(floats)->dim(0) < least_rows ? 0 : group;
      RTAI_TRY(const quant::QuantizedMatrix matrix, rounded(*graph_.constant(floats), table_group));
      const Integers integers = store(free_name(floats), matrix);
      graph_.set_input(id, table, integers.values);
      graph_.set_input(id, table - E::word + E::word_scale, integers.scales);
      set_group(id, E::kGroups[table - E::word], table_group);
      ++count;
    }
    return count;
  }

  // --- mode=auto

  /// Measures what each site does to the outputs and takes, and lets sites fall back.
  Result<void> settle(PassReport& report) {
    sort_sites();
    ir::Graph before = graph_;
    for (const quant::Site& site : sites_)
      quant::put(before, site, site.rungs.size() - 1);
    RTAI_TRY_VOID(measure_times());
    RTAI_TRY_VOID(rank(before));
    add_table(report);
    const TokenBatch most = prune::first_tokens(*context_.calibration, kTokensOfMoves);
    RTAI_TRY(prune::Judge judge, prune::Judge::make(before, most, *context_.evaluator));
    RTAI_TRY(const double first, judge.divergence(graph_));
    report.counters.push_back({.name = "divergence of all in int8", .value = first});
    const TokenBatch some = ranking_texts();
    RTAI_TRY(prune::Judge quick, prune::Judge::make(before, some, *context_.evaluator));
    const auto alone = [&](const quant::Site& site, std::size_t rung) {
      ir::Graph candidate = before;
      quant::put(candidate, site, rung);
      return quick.divergence(candidate);
    };
    const auto together = [&](const ir::Graph& candidate) { return judge.divergence(candidate); };
    RTAI_TRY(const double divergence, quant::fall_back(graph_, sites_, options_.max_divergence,
                                                       together, alone, *context_.log));
    if (!(divergence <= options_.max_divergence)) {
      context_.log->warning(
          fmt::format("divergence {:.2g} is left, at most {:.2g} was wanted; no finer form helps",
                      divergence, options_.max_divergence));
    }
    report.counters.push_back({.name = "divergence", .value = divergence});
    for (std::size_t i = 0; i < sites_.size(); ++i)
      report.tables.back().rows[i][1] = cost_of(sites_[i], sites_[i].at);
    return {};
  }

  /// In order of execution.
  void sort_sites() {
    std::map<ir::NodeId, std::size_t> places;
    for (const ir::NodeId id : graph_.order())
      places.emplace(id, places.size());
    std::ranges::stable_sort(sites_, {}, [&](const quant::Site& s) { return places.at(s.node); });
  }

  /// What the divergence of the whole model is measured on, once for each move of a site.
  static constexpr Index kTokensOfMoves = 4096;

  /// Enough to tell the sites apart.
  TokenBatch ranking_texts() const {
    constexpr Index kTokens = 1024;
    return prune::first_tokens(*context_.calibration, kTokens);
  }

  /// The divergence with one site alone in int8; what comes before its layer is computed once.
  Result<void> rank(const ir::Graph& before) {
    const TokenBatch texts = ranking_texts();
    RTAI_TRY(prune::Judge judge, prune::Judge::make(before, texts, *context_.evaluator));
    std::map<ir::NodeId, ir::ValueId> begins;  // of layers, by their first linear layer
    for (const ir::EncoderLayer& layer : ir::find_layers(before)) {
      if (layer.attention)
        begins[layer.attention->qkv] = before.node(layer.attention->qkv).input(ir::Linear::src);
    }
    for (std::size_t i = 0; i < sites_.size(); ++i) {
      quant::Site& site = sites_[i];
      context_.log->progress("sensitivity", static_cast<double>(i),
                             static_cast<double>(sites_.size()));
      if (const auto begin = begins.find(site.node); begin != begins.end()) {
        const ir::Graph rest = ir::extract(before, std::span(&begin->second, 1), before.outputs());
        if (rest.inputs().size() == 1) RTAI_TRY_VOID(judge.advance(before, begin->second));
      }
      ir::Graph candidate = before;
      quant::put(candidate, site, site.at);
      RTAI_TRY(site.sensitivity, judge.divergence(candidate));
    }
    context_.log->progress("sensitivity", 0, 0);
    return {};
  }

  /// Microseconds of each node on the workload, on each of its rungs; alike nodes once.
  Result<void> measure_times() {
    std::map<std::string, double> measured;
    for (quant::Site& site : sites_) {
      const ir::ValueId src = graph_.node(site.node).input(0);
      const auto& dims = graph_.type(src).dims;
      if (graph_.node(site.node).op() == ir::Op::embedding || !dims ||
          dims->front() != ir::Dim("tokens")) {
        continue;
      }
      for (std::size_t rung = 0; rung < site.rungs.size(); ++rung) {
        ir::Graph whole = graph_;
        quant::put(whole, site, rung);
        const ir::ValueId result = graph_.result(site.node);
        const ir::Graph part = ir::extract(whole, std::span(&src, 1), std::span(&result, 1));
        const std::string key = fmt::format("{} {} {}", to_string(graph_.type(src)),
                                            to_string(graph_.type(result)), site.rungs[rung].name);
        auto found = measured.find(key);
        if (found == measured.end()) {
          RTAI_TRY(const Milliseconds time, context_.evaluator->latency(part));
          found = measured.emplace(key, 1e3 * time.count()).first;
        }
        site.times.push_back(found->second);
      }
    }
    return {};
  }

  static double cost_of(const quant::Site& site, std::size_t rung) {
    return site.times.empty() ? NAN : site.times[rung];
  }

  /// What is known of each site before any falls back.
  void add_table(PassReport& report) const {
    FigureTable table{
        .name = "sites", .columns = {"sensitivity", "cost_us", "f32_cost_us"}, .rows = {}};
    for (const quant::Site& site : sites_) {
      table.names.push_back(graph_.node(site.node).name());
      table.rows.push_back(
          {site.sensitivity, cost_of(site, site.at), cost_of(site, site.rungs.size() - 1)});
    }
    report.tables.push_back(std::move(table));
  }

  static bool is_quantized(const quant::Site& site) {
    return site.rungs[site.at].name.starts_with("int");
  }
  double count(ir::Op op) const {
    return static_cast<double>(std::ranges::count_if(sites_, [&](const quant::Site& site) {
      return is_quantized(site) && graph_.node(site.node).op() == op;
    }));
  }
  double count_static() const {
    return static_cast<double>(std::ranges::count_if(sites_, [&](const quant::Site& site) {
      return graph_.node(site.node).attributes().real("src_scale", 0.0f) > 0;
    }));
  }

  /// Attributes of nodes that say their input stands in 4 bits.
  double count_packed(ir::Op op, const std::vector<const char*>& attributes) const {
    double found = 0;
    for (const ir::NodeId id : graph_.nodes_of(op)) {
      for (const char* attribute : attributes)
        found += graph_.node(id).attributes().integer(attribute, 0) > 0 ? 1 : 0;
    }
    return found;
  }

  /// The table of sites without figures, so that reports tell which have 4 bits.
  void name_sites(PassReport& report) const {
    FigureTable table{
        .name = "sites", .columns = {"sensitivity", "cost_us", "f32_cost_us"}, .rows = {}};
    for (const quant::Site& site : sites_) {
      table.names.push_back(graph_.node(site.node).name());
      table.rows.push_back({NAN, NAN, NAN});
    }
    report.tables.push_back(std::move(table));
  }

  ir::Graph& graph_;
  const Options& options_;
  PassContext& context_;
  std::vector<ir::NodeId> linears_, attentions_, embeddings_;
  std::map<ir::NodeId, quant::SourceRows> sources_;
  std::set<ir::NodeId> ffn_;  // linear layers that may have weights of 4 bits
  std::map<ir::ValueId, std::map<Index, Integers>> shared_;  // by the floats and the group
  std::map<ir::ValueId, std::string> names_;                 // of floats before they were integers
  std::map<ir::ValueId, ir::ValueId> narrow_;                // weights of 16 bits, likewise
  std::vector<quant::Site> sites_;
};

class QuantizeInt8 final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<void> configure(const OptionValues& values) override {
    RTAI_TRY_VOID(PassWith::configure(values));
    RTAI_TRY_VOID(expect_one_of("mode", chosen().mode, {"dynamic", "static", "auto"}));
    RTAI_TRY_VOID(
        expect_one_of("calibration", chosen().calibration,
                      {quant::kCalibrationMethods.begin(), quant::kCalibrationMethods.end()}));
    RTAI_TRY_VOID(expect_one_of("weights", chosen().weights, {"int8", "int4"}));
    RTAI_TRY_VOID(expect_one_of("group", fmt::format("{}", chosen().group), {"32", "64", "128"}));
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
