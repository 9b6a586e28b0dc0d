#include "libopt/prune/choice.h"

#include "libopt/prune/texts.h"

#include <catch2/catch.hpp>

#include <limits>

namespace rtai::prune {
namespace {

TEST_CASE("the choice is the best of all, by trying all") {
  Random random(1);
  for (int round = 0; round < 20; ++round) {
    std::vector<Alternatives> modules(3);
    for (Alternatives& module : modules) {
      double cost = 0;
      double harm = 20;
      for (int level = 0; level < 5; ++level) {
        module.cost.push_back(cost);
        module.harm.push_back(harm);
        cost += static_cast<double>(random.below(10));
        harm *= random.unit();
      }
    }
    const double budget = 30;
    const Choice choice = choose(modules, budget, 30).value();
    CHECK(total_cost(modules, choice) <= budget);
    double best = std::numeric_limits<double>::infinity();
    for (std::size_t a = 0; a < 5; ++a) {
      for (std::size_t b = 0; b < 5; ++b) {
        for (std::size_t c = 0; c < 5; ++c) {
          if (total_cost(modules, {a, b, c}) <= budget)
            best = std::min(best, total_harm(modules, {a, b, c}));
        }
      }
    }
    CHECK(total_harm(modules, choice) == Approx(best));
  }
}

TEST_CASE("a budget that the cheapest levels exceed has no choice, one of zero may") {
  const std::vector<Alternatives> dear = {{.cost = {5, 10}, .harm = {1, 0}}};
  CHECK_FALSE(choose(dear, 4));
  CHECK(choose(dear, 5) == Choice{0});
  CHECK(choose(dear, 1e9) == Choice{1});
  const std::vector<Alternatives> free = {{.cost = {0, 10}, .harm = {1, 0}}};
  CHECK(choose(free, 0) == Choice{0});
  CHECK_FALSE(choose(free, -1));
  CHECK(cheapest(dear) == Choice{0});
}

TEST_CASE("a level of infinite harm is never chosen") {
  const double never = std::numeric_limits<double>::infinity();
  const std::vector<Alternatives> modules = {{.cost = {0, 5}, .harm = {never, 1}}};
  CHECK_FALSE(choose(modules, 4));
  CHECK(choose(modules, 6) == Choice{1});
}

}  // namespace
}  // namespace rtai::prune
