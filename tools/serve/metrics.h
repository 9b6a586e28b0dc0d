// What a server counts, in the text format that Prometheus reads.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>

namespace rtai::serve {

/// Counts of values up to each of some limits. Any number of threads may add.
class Histogram {
 public:
  /// `limits` ascend and outlive the histogram; at most kMostLimits.
  explicit Histogram(std::span<const double> limits) : limits_(limits) {}

  void add(double value);
  /// The lines of one histogram: cumulative buckets, sum and count.
  std::string text(std::string_view name, std::string_view labels = {}) const;

 private:
  static constexpr std::size_t kMostLimits = 20;

  std::span<const double> limits_;
  std::array<std::atomic<std::uint64_t>, kMostLimits + 1> counts_{};  // the last: beyond all limits
  std::atomic<double> sum_{0};
};

extern const std::array<double, 15> kSecondLimits;
extern const std::array<double, 13> kCountLimits;

/// Of one engine; its name is in the label, and its model's where there are several.
struct EngineCounts {
  std::uint64_t texts = 0;
  std::uint64_t tokens = 0;
  std::uint64_t batches = 0;
  double seconds = 0;
};

struct Metrics {
  /// Of a server of this many models.
  explicit Metrics(std::size_t models = 1) : names_models_(models > 1) {}

  Histogram request_seconds{kSecondLimits};
  Histogram queue_seconds{kSecondLimits};
  Histogram compute_seconds{kSecondLimits};
  Histogram batch_texts{kCountLimits};
  Histogram batch_tokens{kCountLimits};
  std::atomic<std::uint64_t> refused_queue{0};     // 429: the wait would be too long
  std::atomic<std::uint64_t> refused_deadline{0};  // 429: the deadline could not be kept
  std::atomic<std::uint64_t> expired{0};           // 504: the deadline passed in the queue
  std::atomic<std::uint64_t> reloads_done{0};
  std::atomic<std::uint64_t> reloads_failed{0};
  std::atomic<std::uint64_t> engine_shifts{0};
  std::atomic<std::uint64_t> promise_kept{0};
  std::atomic<std::uint64_t> promise_missed{0};

  void count_request(std::string_view endpoint, int status);
  void count_batch(const std::string& model,
                   const std::string& engine,
                   std::size_t texts,
                   std::size_t tokens,
                   double seconds);

  /// Labels {model="NAME"}, or none where there is one model alone.
  std::string model_labels(std::string_view model) const;
  /// The lines of requests and engines.
  std::string request_text() const;
  std::string engine_text() const;

 private:
  bool names_models_;
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, std::uint64_t> requests_;        // by endpoint and status
  std::map<std::pair<std::string, std::string>, EngineCounts> engines_;  // by model and name
};

/// "# TYPE name kind", then "name value".
std::string metric(std::string_view name, std::string_view kind, double value);
/// A label's value with quotes, backslashes and line ends escaped.
std::string escape_label(std::string_view value);

}  // namespace rtai::serve
