// What modules cost by the number of their units: counted or measured.
#pragma once

#include "libopt/pass/evaluator.h"
#include "libopt/prune/modules.h"
#include "runtime/base/log.h"

#include <span>
#include <vector>

namespace rtai::prune {

/// The units that are kept of each module, ascending.
using Kept = std::vector<std::vector<Index>>;

/// A cost that rises with the number of units; straight lines between the points.
struct CostCurve {
  std::vector<Index> units;  // ascending
  std::vector<double> cost;  // never falling

  double at(Index count) const;
};

/// The costs of all modules, and of what no pruning changes.
struct CostModel {
  std::vector<CostCurve> modules;
  double rest = 0;

  double of(std::span<const Module> dense, const Kept& kept) const;  // rest included
  double dense(std::span<const Module> modules) const;
};

/// Multiply-adds per token of the linear layers and the two attention products, in sequences of
/// `seq` tokens; nothing but the modules counts.
CostModel count_flops(const ir::Graph& graph, std::span<const Module> modules, Index seq);

/// Weights and biases; the rest is all that the graph has beside its modules.
CostModel count_parameters(const ir::Graph& graph, std::span<const Module> modules);

/// Units, as if each cost 1.
CostModel count_units(std::span<const Module> modules);

/// Milliseconds, measured by the evaluator at the precision that will be deployed: the first layers
/// of the model with all their heads at each level, then all their columns, against the same layers
/// without; smoothed so that fewer units never cost more. Each is compared with the whole model,
/// which takes turns with them, and told in its median.
///
/// Errors: as Evaluator::deployed_latencies.
Result<CostModel> measure_times(const ir::Graph& graph,
                                std::span<const Module> modules,
                                Evaluator& evaluator,
                                Log& log);

/// A copy of the graph with only the kept units; modules without any are gone where they can be
/// dropped. Weights stay as they were.
ir::Graph narrowed(const ir::Graph& graph, std::span<const Module> modules, const Kept& kept);

/// Drops every module of which no unit is kept, last to first; what cannot be dropped stays.
void drop_empty_modules(ir::Graph& graph, std::span<const Module> modules, const Kept& kept);

}  // namespace rtai::prune
