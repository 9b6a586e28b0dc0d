#include "tools/serve/chooser.h"

#include <catch2/catch.hpp>

#include <array>

using namespace rtai::serve;

namespace {

using std::chrono::milliseconds;

/// 10 us a token, and 2.5 us.
std::array<CostModel, 2> two_costs() {
  std::array<CostModel, 2> costs;
  for (const std::size_t tokens : {10u, 100u, 400u, 50u}) {
    costs[0].add(tokens, 1e-3 + 1e-5 * static_cast<double>(tokens));
    costs[1].add(tokens, 1e-3 + 2.5e-6 * static_cast<double>(tokens));
  }
  return costs;
}

/// Feeds a steady rate for some time, choosing after each arrival with an empty queue; the engine
/// that is chosen at the end and how often the choice changed.
struct Played {
  std::size_t engine = 0;
  int shifts = 0;
};
Played play(EngineChooser& chooser, Clock::time_point& now, double tokens_per_s, double seconds) {
  const std::array<CostModel, 2> costs = two_costs();
  Played played{.engine = chooser.current()};
  constexpr std::size_t kTokens = 30;
  const auto gap = std::chrono::duration_cast<Clock::duration>(
      std::chrono::duration<double>(kTokens / tokens_per_s));
  const Clock::time_point end =
      now + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  for (; now < end; now += gap) {
    chooser.arrived(now, kTokens);
    const std::size_t engine = chooser.choose(now, 0, kTokens, costs);
    played.shifts += engine != played.engine ? 1 : 0;
    played.engine = engine;
  }
  return played;
}

}  // namespace

TEST_CASE("costs are learned as overhead and slope") {
  const std::array<CostModel, 2> costs = two_costs();
  CHECK(costs[0].slope() == Approx(1e-5).epsilon(0.01));
  CHECK(costs[0].overhead() == Approx(1e-3).epsilon(0.01));
  CHECK(costs[0].seconds(200) == Approx(3e-3).epsilon(0.01));
}

TEST_CASE("costs follow a machine that becomes slower") {
  CostModel cost = two_costs()[0];
  for (int i = 0; i < 300; ++i)
    cost.add(i % 2 == 0 ? 100 : 300, i % 2 == 0 ? 4e-3 : 12e-3);
  CHECK(cost.seconds(200) == Approx(8e-3).epsilon(0.05));
}

TEST_CASE("costs of batches of one size grow with the tokens") {
  CostModel cost;
  for (int i = 0; i < 10; ++i)
    cost.add(100, 1e-3);
  CHECK(cost.seconds(200) == Approx(2e-3));
  CHECK(CostModel().seconds(100) == 0);
}

TEST_CASE("without a promise the first engine always answers") {
  EngineChooser chooser(2, 0);
  Clock::time_point now{};
  CHECK(play(chooser, now, 1e6, 2).engine == 0);
}

TEST_CASE("a rate that the first engine can hold stays with it") {
  EngineChooser chooser(2, 20e-3);
  Clock::time_point now{};
  CHECK(play(chooser, now, 50'000, 5).shifts == 0);
}

TEST_CASE("a rate beyond the first engine goes to the faster one once and comes back once") {
  EngineChooser chooser(2, 20e-3);
  Clock::time_point now{};
  const Played busy = play(chooser, now, 200'000, 5);
  CHECK(busy.engine == 1);
  CHECK(busy.shifts == 1);
  const Played calm = play(chooser, now, 30'000, 5);
  CHECK(calm.engine == 0);
  CHECK(calm.shifts == 1);
}

TEST_CASE("a rate between the two limits does not make the choice swing") {
  EngineChooser chooser(2, 20e-3);
  Clock::time_point now{};
  play(chooser, now, 200'000, 2);
  const Played between = play(chooser, now, 75'000, 10);  // three quarters of the first engine
  CHECK(between.engine == 1);
  CHECK(between.shifts == 0);
}

TEST_CASE("old work and long queues are danger at once") {
  const std::array<CostModel, 2> costs = two_costs();
  Clock::time_point now{};
  EngineChooser by_age(2, 20e-3);
  CHECK(by_age.choose(now, 1e-3, 30, costs) == 0);
  CHECK(by_age.choose(now, 9.5e-3, 30, costs) == 1);
  EngineChooser by_length(2, 20e-3);
  CHECK(by_length.choose(now, 0, 2000, costs) == 1);
  CHECK(by_length.choose(now + milliseconds(500), 0, 30, costs) == 1);  // not yet calm for long
  CHECK(by_length.choose(now + milliseconds(1600), 0, 30, costs) == 0);
}

TEST_CASE("what other models want of the same threads is danger as well, and leaves less room") {
  const std::array<CostModel, 2> costs = two_costs();
  const OtherWork long_queue{.queued_s = 9e-3}, high_load{.load = 0.9};
  for (const OtherWork& others : {long_queue, high_load}) {
    Clock::time_point now{};
    EngineChooser chooser(2, 20e-3);
    CHECK(chooser.choose(now, 0, 30, costs) == 0);
    CHECK(chooser.choose(now, 0, 30, costs, others) == 1);
    now += milliseconds(1600);
    CHECK(chooser.choose(now, 0, 30, costs, {.load = 0.7}) == 1);  // calm, but there is no room
    CHECK(chooser.choose(now, 0, 30, costs, {.load = 0.6}) == 0);
  }
}
