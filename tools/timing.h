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
  double p999 = 0;
  double stddev = 0;
};

/// `samples` in milliseconds; at least one.
LatencySummary summarize(std::vector<double> samples);

struct BenchOptions {
  int warmup = 10;
  int iterations = 100;   // at least
  double duration_s = 0;  // at least; 0: iterations alone decide
  bool profile = false;
  bool resident = false;  // engines in memory of their own
};

struct BenchRun {
  LatencySummary latency;
  std::optional<LatencySummary> device_latency;  // of a GPU, by its own clock
  std::vector<double> samples;                   // ms, in the order of measuring
  double runs_per_s = 0;                         // of several streams the sum of theirs
  double first_run_ms = 0;
  std::vector<StepProfile> profile;
  int threads = 0;
  std::string target;
  double tokens = 0;  // of one run, the mean
};

/// One session that is measured a few runs at a time, so that several can take turns.
class BenchSession {
 public:
  /// Makes the session and times its first run. The batches of the workload are run in turn.
  static Result<BenchSession> create(std::shared_ptr<const engine::Engine> engine,
                                     const Workload& workload,
                                     bool profile);

  /// Adds `count` samples, or discards them; each of the next batch.
  Result<void> measure(int count, bool keep);
  /// Adds `count` samples, all of the next batch, after a run that is not kept. The shortest, ms.
  Result<double> measure_turn(int count);

  /// Milliseconds measured so far, summed.
  double total_ms() const { return total_ms_; }
  int count() const { return static_cast<int>(samples_.size()); }
  /// How many different ones are run in turn.
  int batches() const { return static_cast<int>(batches_.size()); }
  /// Forgets the first `count` samples.
  void drop_first(int count);
  std::span<const double> samples() const { return samples_; }
  double first_run_ms() const { return first_run_ms_; }
  /// Milliseconds of the last run, kept or not.
  double last_ms() const { return last_ms_; }
  BenchRun finish();

 private:
  BenchSession(Session session, std::vector<WorkloadTokens> batches)
      : session_(std::move(session)), batches_(std::move(batches)) {}

  struct Sample {
    double ms = 0;
    double device_ms = 0;  // 0: no GPU
  };
  Result<Sample> run_once();
  void keep(const Sample& sample);

  Session session_;
  std::vector<WorkloadTokens> batches_;
  std::size_t next_ = 0;  // of batches_
  std::vector<double> samples_;
  std::vector<double> device_samples_;  // as many, or none
  double total_ms_ = 0;
  double first_run_ms_ = 0;
  double last_ms_ = 0;
};

/// Milliseconds of making the tokens of the texts of each run, in turn and on one thread; those of
/// the last `count` runs after `warmup` more.
///
/// Errors: those of encode().
Result<std::vector<double>> time_tokenization(const text::Tokenizer& tokenizer,
                                              const Workload& workload,
                                              int warmup,
                                              int count);

/// Of one of several engines that took turns.
struct TurnTimes {
  LatencySummary latency;
  std::vector<double> samples;  // ms, in the order of measuring
  double comparable_ms = 0;     // with the others': see separate_turns
};

/// Measures engines in turns of a few runs, at least `iterations` runs of each, and several times
/// as many where the machine's speed changes so much that they cannot be compared sooner. In a turn
/// all run the same batch.
Result<std::vector<TurnTimes>> bench_in_turns(
    std::span<const std::shared_ptr<const engine::Engine>> engines,
    const Workload& workload,
    int iterations);

/// Measures one engine alone.
Result<BenchRun> bench_engine(const std::shared_ptr<const engine::Engine>& engine,
                              const Workload& workload,
                              const BenchOptions& options);

}  // namespace rtai::tools
