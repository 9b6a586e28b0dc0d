// What measured times allow to say: whether they are stable, and by how much two differ.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// The smallest that at least half of them do not exceed; of at least one.
double median_of(std::vector<double> values);

/// Three windows of equal size, one after the other, and whether their medians lie within 10 %.
struct Stability {
  std::optional<bool> is_stable;      // nothing: too few samples to tell
  std::vector<double> window_p50_ms;  // of the three windows
  std::string reason;                 // why it is not stable, or cannot be told
};

/// `samples` in milliseconds, in the order of measuring. Fewer than 30 tell nothing.
Stability judge_stability(std::span<const double> samples);

/// How many times faster one is than another, with a 95 % confidence interval.
struct Comparison {
  double ratio = 1;  // time of the reference / time of the other
  double low = 1;
  double high = 1;

  bool is_faster() const { return low > 1; }
  bool is_slower() const { return high < 1; }
  /// "1.92x +- 0.03 faster", "no difference shown (1.00x +- 0.02)".
  std::string verdict() const;
};

/// Compares medians of rounds in which both were measured in turn. The interval is the percentile
/// bootstrap over rounds, so that what disturbed a round disturbs both sides of the ratio.
///
/// Shapes: reference [rounds], other [rounds]; milliseconds; at least one round.
/// Source: Efron 1979, doi:10.1214/aos/1176344552.
Comparison compare_rounds(std::span<const double> reference,
                          std::span<const double> other,
                          std::uint64_t seed);

}  // namespace rtai::tools
