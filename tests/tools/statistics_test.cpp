#include "tools/statistics.h"

#include <catch2/catch.hpp>

#include <cmath>

namespace rtai::tools {
namespace {

/// What a machine's clock makes of every turn: usual, throttled, for a moment much faster.
const std::vector<double> kSpeeds = {1, 1.02, 0.6, 1, 1.3, 0.99, 1.01, 0.6, 1, 1.25, 1};

std::vector<double> at_these_speeds(double ms) {
  std::vector<double> times;
  for (const double speed : kSpeeds)
    times.push_back(ms * speed);
  return times;
}

TEST_CASE("the median of an even number lies half way between the middle two") {
  CHECK(median_of({7}) == 7);
  CHECK(median_of({8, 2}) == 5);
  CHECK(median_of({9, 1, 4}) == 4);
  CHECK(median_of({9, 1, 4, 2}) == 3);
}

TEST_CASE("levels are free of what slows a turn for all, and are those of the usual speed") {
  const std::vector<std::vector<double>> times = {at_these_speeds(10), at_these_speeds(5),
                                                  at_these_speeds(2)};
  const TurnLevels levels = separate_turns(times);
  REQUIRE(levels.ms.size() == 3);
  CHECK(levels.ms[0] == Approx(10));
  CHECK(levels.ms[1] == Approx(5));
  CHECK(levels.ms[2] == Approx(2));
  CHECK(levels.uncertainty < 1e-9);
}

TEST_CASE("a fast moment that only one of two met changes no level, but the shortest times") {
  std::vector<std::vector<double>> times = {at_these_speeds(10), at_these_speeds(5)};
  times[0][3] = 5.5;  // a fast moment of each; their shortest
  times[1][5] = 2;    // times have a ratio of 2.75
  const TurnLevels levels = separate_turns(times);
  CHECK(levels.ms[0] / levels.ms[1] == Approx(2).epsilon(0.01));
}

TEST_CASE("times that scatter by themselves are uncertain, and less so after more turns") {
  std::vector<std::vector<double>> times(2);
  double after_eight = 0;
  for (int turn = 0; turn < 128; ++turn) {
    times[0].push_back(10 + std::sin(turn));
    times[1].push_back(5 + 0.5 * std::sin(1.7 * turn + 1));
    if (turn == 7) after_eight = separate_turns(times).uncertainty;
  }
  const double after_all = separate_turns(times).uncertainty;
  CHECK(after_eight > 0.005);
  CHECK(after_all > 0);
  CHECK(after_all < after_eight / 2);
}

TEST_CASE("one alone has the level of its median turn") {
  const std::vector<std::vector<double>> times = {{8, 10, 30}};
  const TurnLevels levels = separate_turns(times);
  CHECK(levels.ms[0] == Approx(10));
  CHECK(levels.uncertainty == 0);
}

TEST_CASE("rounds are compared one by one, whatever the speed of each") {
  const Comparison comparison = compare_rounds(at_these_speeds(10), at_these_speeds(5), 1);
  CHECK(comparison.ratio == Approx(2));
  CHECK(comparison.low == Approx(2));
  CHECK(comparison.high == Approx(2));
  CHECK(comparison.is_faster());
}

TEST_CASE("no difference is shown where rounds disagree") {
  const Comparison comparison = compare_rounds(std::vector<double>{10, 11, 9, 10, 12, 9},
                                               std::vector<double>{11, 10, 10, 9, 11, 10}, 1);
  CHECK_FALSE(comparison.is_faster());
  CHECK_FALSE(comparison.is_slower());
}

}  // namespace
}  // namespace rtai::tools
