// Several models measured in turn on one workload: rounds of a few runs of each, so that a change
// of the machine's mood meets all of them alike.
#pragma once

#include "runtime/text/tokenizer.h"
#include "tools/gates.h"
#include "tools/model.h"
#include "tools/report/optimization.h"
#include "tools/statistics.h"
#include "tools/streams.h"
#include "tools/timing.h"
#include "tools/workload.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

/// A model as it will be measured.
struct LoadedModel {
  std::string name;
  std::string dtype;
  std::uint64_t bytes = 0;
  double load_ms = 0;  // from the file to an engine
  std::shared_ptr<const engine::Engine> engine;
  std::optional<text::Tokenizer> tokenizer;
};

/// Errors: those of load_model.
Result<LoadedModel> load_for_bench(const std::string& name, EngineMemory memory, Log& log);

/// What one model did on one workload.
struct BenchResult {
  std::string model;
  std::string dtype;
  std::uint64_t bytes = 0;
  double load_ms = 0;  // from the file to a session
  Workload workload;
  std::string workload_text;  // as workload_text() says it
  BenchRun run;
  std::optional<LatencySummary> tokenization;  // of a run's texts, where there are some
  Stability stability;
  int discarded = 0;                        // runs before the machine had settled
  std::uint64_t peak_rss_bytes = 0;         // of the whole process so far
  std::optional<Comparison> against_first;  // nothing for the first model itself
  std::optional<Quality> quality;           // with --eval; agreement is with the first model
  std::vector<JudgedGate> gates;
  std::optional<double> baseline_p50_ms;  // with --against
};

/// Measures until every model has `iterations` runs and the whole took `duration_s` for each; then,
/// as long as the windows of some model disagree, up to twice as long again. The result holds the
/// last windows.
///
/// Errors: those of making sessions, with the model's name in front.
Result<std::vector<BenchResult>> bench_models(const std::vector<LoadedModel>& models,
                                              const Workload& workload,
                                              const BenchOptions& options,
                                              Log& log);

}  // namespace rtai::tools
