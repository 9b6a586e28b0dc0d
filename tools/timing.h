// Measuring engines: many runs one by one, and what is said of them.
#pragma once

#include "runtime/engine/engine.h"
#include "runtime/exec/session.h"
#include "tools/workload.h"

#include <memory>
#include <optional>
#include <span>
#include <vector>

namespace rtai::tools {

/// Milliseconds. A percentile is the smallest sample that at least that share does not exceed.
struct LatencySummary {
  double min = 0;
  double mean = 0;
  double p50 = 0;
  double p90 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
  double mad = 0;  // median of the distances to the median
};

/// `samples` in milliseconds; at least one.
LatencySummary summarize(std::vector<double> samples);

struct BenchOptions {
  int warmup = 10;
  int iterations = 100;   // at least
  double duration_s = 0;  // at least; 0: iterations alone decide
  bool profile = false;
};

struct BenchRun {
  LatencySummary latency;
  std::vector<double> samples;  // ms, in the order of measuring
  double first_run_ms = 0;
  std::vector<StepProfile> profile;
  int threads = 0;
  std::string target;
  Index tokens = 0;  // of one run
};

/// One session that is measured a few runs at a time, so that several can take turns.
class BenchSession {
 public:
  /// Makes the session and times its first run.
  static Result<BenchSession> create(std::shared_ptr<const engine::Engine> engine,
                                     const Workload& workload,
                                     bool profile);

  /// Adds `count` samples, or discards them.
  Result<void> measure(int count, bool keep);

  /// Milliseconds measured so far, summed.
  double total_ms() const { return total_ms_; }
  int count() const { return static_cast<int>(samples_.size()); }
  /// True once several runs took about as long as the shortest one: then nothing disturbed them.
  bool is_settled() const;
  double first_run_ms() const { return first_run_ms_; }
  BenchRun finish();

 private:
  BenchSession(Session session, WorkloadTokens tokens)
      : session_(std::move(session)), tokens_(std::move(tokens)) {}
  Result<double> run_once();

  Session session_;
  WorkloadTokens tokens_;
  std::vector<double> samples_;
  double total_ms_ = 0;
  double first_run_ms_ = 0;
};

/// Measures one engine alone.
Result<BenchRun> bench_engine(const std::shared_ptr<const engine::Engine>& engine,
                              const Workload& workload,
                              const BenchOptions& options);

}  // namespace rtai::tools
