// The report of prune, quantize and optimize: what was asked, what was done, what it cost and won.
#pragma once

#include "libopt/pass/pipeline.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/metrics.h"
#include "tools/timing.h"

#include <optional>
#include <string>
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

/// {"metric", "value", "agreement", "nmse", "kl"}, or null.
Json quality_json(const std::optional<Quality>& quality);

struct OptimizationReport {
  std::string command;  // "quantize"
  std::string model;
  std::string output;
  Json request = Json::object();
  std::uint64_t seed = 0;
  std::vector<PassRecord> passes;
  Json layers = Json::array();  // per-layer decisions
  Json decisions = nullptr;     // of pruning, by the layers of the model before; replaces `layers`
  Json sites = nullptr;         // of quantization: what is int8 or not, the most sensitive first
  Json candidates = Json::array();  // on the speed/quality front
  std::uint64_t bytes_before = 0;
  std::uint64_t bytes_after = 0;
  std::optional<double> predicted_ms;
  std::optional<LatencySummary> latency_before;
  std::optional<LatencySummary> latency_after;
  std::optional<double> speedup;  // of the model after, compared turn by turn
  std::optional<Quality> quality_before;
  std::optional<Quality> quality_after;
  std::vector<std::string> missed;  // gates, one line each; empty: met
  double seconds = 0;

  Json json() const;
  std::string text() const;
};

/// The goal in time that was missed, in one line, if it was. Latencies are medians, as users see
/// them.
std::optional<std::string> missed_time(const OptimizationReport& report,
                                       std::optional<double> speedup,
                                       std::optional<double> latency_ms);

/// "i8 static", "i4 dynamic", "i8", "f32": of a linear, attention or embedding node. i4: weights
/// stored in 4 bits and computed with as int8.
std::string precision_of(const ir::Graph& graph, const ir::Node& node);

/// What each layer of a graph looks like: heads, FFN width, precision.
Json describe_layers(const ir::Graph& graph);

}  // namespace rtai::tools
