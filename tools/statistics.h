// What measured times allow to say: whether they are stable, and by how much two differ.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// The middle one; of an even number, half way between the middle two: of two neither is the usual
/// one. Of at least one.
double median_of(std::vector<double> values);

/// Three windows of equal size, one after the other, and whether their medians lie within 10 %.
struct Stability {
  std::optional<bool> is_stable;      // nothing: too few samples to tell
  std::vector<double> window_p50_ms;  // of the three windows
  std::string reason;                 // why it is not stable, or cannot be told
};

/// `samples` in milliseconds, in the order of measuring. Fewer than 30 tell nothing.
Stability judge_stability(std::span<const double> samples);

/// What each of several takes, apart from what made a turn slow or fast for all of them.
struct TurnLevels {
  std::vector<double> ms;  // comparable: at the speed that the machine had in the middle turn
  double uncertainty = 0;  // relative standard error of the least certain one; 0 for one alone
};

/// Separates times that were measured in turns into a level for each, a speed for each turn and
/// what is left, on a logarithmic scale and by medians: a clock that rises for a few turns, or a
/// neighbour that takes the caches for a while, changes no level. The shortest times would compare
/// lucky turns.
///
/// Shapes: times [contenders][turns], milliseconds, above 0; at least one of each.
/// Source: median polish, Tukey 1977, Exploratory Data Analysis, chapter 11.
TurnLevels separate_turns(std::span<const std::vector<double>> times);

/// The smallest sample that at least `share` of them do not exceed. Sorted, at least one.
double percentile_of(std::span<const double> sorted, double share);

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

/// Compares rounds in which both were measured in turn by the median of their ratios, so that what
/// disturbed a round disturbs both sides. The interval is the percentile bootstrap over rounds.
///
/// Shapes: reference [rounds], other [rounds]; milliseconds; at least one round.
/// Source: Efron 1979, doi:10.1214/aos/1176344552.
Comparison compare_rounds(std::span<const double> reference,
                          std::span<const double> other,
                          std::uint64_t seed);

}  // namespace rtai::tools
