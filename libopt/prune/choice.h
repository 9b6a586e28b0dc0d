// A level for every module: least harm within a budget.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/result.h"

#include <optional>
#include <span>
#include <vector>

namespace rtai::prune {

/// What the levels of one module cost and what harm they do; both by level, costs ascending.
struct Alternatives {
  std::vector<double> cost;
  std::vector<double> harm;
};

/// The level of each module.
using Choice = std::vector<std::size_t>;

/// Chooses one level per module so that the costs sum to at most `budget` and the harm is least, by
/// dynamic programming over `buckets` steps of the budget (costs are rounded up to whole steps).
/// Nothing if even the cheapest levels cost too much.
std::optional<Choice> choose(std::span<const Alternatives> modules,
                             double budget,
                             Index buckets = 4000);

double total_cost(std::span<const Alternatives> modules, const Choice& choice);
double total_harm(std::span<const Alternatives> modules, const Choice& choice);

/// The cheapest level of every module.
Choice cheapest(std::span<const Alternatives> modules);

}  // namespace rtai::prune
