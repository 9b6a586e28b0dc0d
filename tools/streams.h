// Several sessions of one engine that run at once, each with its share of the threads.
#pragma once

#include "tools/timing.h"

#include <memory>
#include <vector>

namespace rtai::tools {

/// Threads of each of the workload's streams, which share them evenly; what is left over idles.
/// Of one stream as the workload says, 0 for usable cores.
///
/// Errors: invalid_input if there are more streams than threads; unsupported on a GPU.
Result<int> threads_of_a_stream(const Workload& workload);

/// As BenchSession, for all streams together; one alone is a BenchSession and nothing else.
class Streams {
 public:
  static Result<Streams> create(const std::shared_ptr<const engine::Engine>& engine,
                                const Workload& workload,
                                bool profile);

  /// Adds `count` samples of each stream, or discards them. Every one of them was measured while
  /// all other streams ran, too.
  Result<void> measure(int count, bool keep);

  /// Of one stream.
  double total_ms() const { return sessions_.front().total_ms(); }
  int count() const { return sessions_.front().count(); }
  /// Forgets the first `count` samples of each stream.
  void drop_first(int count);
  /// The last `count` samples of each stream, in the order of measuring.
  std::vector<double> last(int count) const;
  std::vector<double> samples() const { return last(count()); }
  /// Milliseconds of the first runs of all.
  double first_runs_ms() const;
  BenchRun finish();

 private:
  explicit Streams(std::vector<BenchSession> sessions) : sessions_(std::move(sessions)) {}

  std::vector<BenchSession> sessions_;  // at least one
};

}  // namespace rtai::tools
