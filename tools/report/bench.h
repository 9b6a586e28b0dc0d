// The results of `rtai bench` in every form but the page: JSON, text, CSV, Markdown, JUnit.
#pragma once

#include "tools/bench.h"
#include "tools/json.h"
#include "tools/machine.h"

#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

struct BenchReport {
  std::vector<BenchResult> results;  // by workload, the models in turn
  std::optional<Peaks> peaks;        // with --profile
  int warmup = 0;
  bool is_relative = false;  // say how the models compare

  /// The document of docs/schemas/bench-1.json.
  Json json() const;
  /// One compact JSON document a result and line.
  std::string json_lines() const;
  std::string text() const;
  std::string csv() const;
  std::string markdown() const;
  /// A test case for each gate of each result.
  std::string junit() const;
  /// What github-action-benchmark reads as customSmallerIsBetter.
  std::string action_benchmark() const;
  /// What is outside the latency, in one line.
  std::string excluded() const;
  /// What making the tokens of a run took, a line for each result that has texts.
  std::vector<std::string> tokenization_lines() const;
};

/// Figures that gates can speak of, from a result of the document: "p50_ms", "load_ms".
Figures figures_of(const Json& result);

/// Sequences a second, of all streams together.
double per_second(const BenchResult& result);

double share_of(const StepProfile& step, const BenchRun& run);

}  // namespace rtai::tools
