#include "libopt/prune/choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rtai::prune {
namespace {

constexpr double kImpossible = std::numeric_limits<double>::infinity();

/// Whole steps of the budget that a cost takes up; exact multiples stay what they are.
std::size_t steps_of(double cost, double step) {
  return static_cast<std::size_t>(std::max(0.0, std::ceil(cost / step - 1e-9)));
}

/// The level of least harm of every module.
Choice least_harmful(std::span<const Alternatives> modules) {
  Choice choice;
  for (const Alternatives& module : modules) {
    const auto least = std::ranges::min_element(module.harm);
    choice.push_back(static_cast<std::size_t>(least - module.harm.begin()));
  }
  return choice;
}

}  // namespace

std::optional<Choice> choose(std::span<const Alternatives> modules, double budget, Index buckets) {
  const auto size = static_cast<std::size_t>(buckets) + 1;
  if (!(budget >= 0)) return std::nullopt;
  // What does least harm may simply fit; rounding costs up must not take that away.
  const Choice harmless = least_harmful(modules);
  if (total_cost(modules, harmless) <= budget * (1 + 1e-12)) return harmless;
  const double step = std::max(budget, 1e-300) / static_cast<double>(buckets);
  std::vector<double> best(size, 0.0);  // least harm of the modules so far, by steps spent at most
  std::vector<std::vector<std::uint16_t>> levels;  // the last module's level in that optimum
  for (const Alternatives& module : modules) {
    std::vector<double> next(size, kImpossible);
    std::vector<std::uint16_t> level(size, 0);
    for (std::size_t i = 0; i < module.cost.size(); ++i) {
      if (module.cost[i] > 2 * budget) continue;
      const std::size_t steps = steps_of(module.cost[i], step);
      for (std::size_t b = steps; b < size; ++b) {
        const double harm = best[b - steps] + module.harm[i];
        if (!(harm < next[b])) continue;
        next[b] = harm;
        level[b] = static_cast<std::uint16_t>(i);
      }
    }
    best = std::move(next);
    levels.push_back(std::move(level));
  }
  if (best.back() == kImpossible) return std::nullopt;
  Choice choice(modules.size());
  std::size_t left = size - 1;
  for (std::size_t m = modules.size(); m-- > 0;) {
    choice[m] = levels[m][left];
    left -= steps_of(modules[m].cost[choice[m]], step);
  }
  return choice;
}

double total_cost(std::span<const Alternatives> modules, const Choice& choice) {
  double sum = 0;
  for (std::size_t m = 0; m < modules.size(); ++m)
    sum += modules[m].cost[choice[m]];
  return sum;
}

double total_harm(std::span<const Alternatives> modules, const Choice& choice) {
  double sum = 0;
  for (std::size_t m = 0; m < modules.size(); ++m)
    sum += modules[m].harm[choice[m]];
  return sum;
}

Choice cheapest(std::span<const Alternatives> modules) {
  Choice choice;
  for (const Alternatives& module : modules) {
    const auto least = std::ranges::min_element(module.cost);
    choice.push_back(static_cast<std::size_t>(least - module.cost.begin()));
  }
  return choice;
}

}  // namespace rtai::prune
