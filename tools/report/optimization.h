// The report of prune, quantize and optimize: what was asked, what was done, what it cost and won.
#pragma once

#include "libopt/pass/pipeline.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/metrics.h"
#include "tools/timing.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// Quality of one model on the data at hand.
struct Quality {
  std::string metric;
  std::optional<double> value;      // needs labels
  std::optional<double> agreement;  // with the model before; nothing for that model itself
  std::optional<double> nmse = {};  // of the first output, likewise
  std::optional<double> kl = {};    // of the classes, likewise
};

struct Loss {
  double points = 0;  // NaN where nothing tells
  std::string of;     // "accuracy"
};

/// Of the metric where both have a value, else of agreement.
Loss loss_of(const Quality& before, const Quality& after);

/// {"metric", "value", "agreement", "nmse", "kl"}, or null.
Json quality_json(const std::optional<Quality>& quality);

/// Something that was asked for, and whether it was reached.
struct Verdict {
  std::string text;  // "speedup 3: 3.572 measured"
  bool is_missed = false;
  std::string hint = {};  // what may help where it is missed
};

struct OptimizationReport {
  std::string command;  // "quantize"
  std::string model;
  std::string output;
  Json request = Json::object();
  std::string workload;  // that latencies are of: "batch 1, 128 tokens, 2 threads"
  std::uint64_t seed = 0;
  std::vector<PassRecord> passes;
  Json layers = Json::array();  // per-layer decisions
  Json decisions = nullptr;     // of pruning, by the layers of the model before; replaces `layers`
  Json sites = nullptr;         // of quantization: what is int8 or not, the most sensitive first
  Json candidates = Json::array();  // on the speed/quality front
  Json tried = Json::array();       // whole models of a search: {"pruning", "points_lost"}
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
  std::optional<double> predicted_ms;
  std::optional<LatencySummary> latency_before;
  std::optional<LatencySummary> latency_after;
  std::optional<double> speedup;  // of the model after, compared turn by turn
  std::optional<Quality> quality_before;
  std::optional<Quality> quality_after;
  std::vector<Verdict> verdicts;     // on goals and gates
  std::vector<std::string> written;  // files beside the output
  double seconds = 0;

  /// The verdicts on what was missed, a line each.
  std::vector<std::string> missed() const;
  Json json() const;
  std::string text() const;
};

/// A figure that a pass counted, if it did.
std::optional<double> counter_of(const PassRecord& record, std::string_view name);

/// On the goal in time, if there is one. Latencies are medians, as users see them.
std::optional<Verdict> judge_time(const OptimizationReport& report,
                                  std::optional<double> speedup,
                                  std::optional<double> latency_ms);

/// "i8 static", "i4 dynamic", "i8", "f32": of a linear, attention or embedding node. i4: weights
/// stored in 4 bits and computed with as int8.
std::string precision_of(const ir::Graph& graph, const ir::Node& node);

/// What each layer of a graph looks like: heads, FFN width, precision.
Json describe_layers(const ir::Graph& graph);

}  // namespace rtai::tools
