// Scores of units without surgery: what the control methods rank by.
#pragma once

#include "libopt/pass/evaluator.h"
#include "libopt/pass/pass.h"
#include "libopt/prune/plan.h"

#include <span>
#include <vector>

namespace rtai::prune {

/// A number for each unit of each module.
using Scores = std::vector<std::vector<double>>;

/// Means and mean squares of the columns of %units of one module over some texts.
struct ColumnStatistics {
  std::vector<double> mean;    // [count * width]
  std::vector<double> square;  // [count * width]
};

/// Errors: as Evaluator::run; invalid_input if there are no texts.
Result<std::vector<ColumnStatistics>> column_statistics(const ir::Graph& dense,
                                                        std::span<const Module> modules,
                                                        const TokenBatch& texts,
                                                        Evaluator& evaluator,
                                                        Log& log);

/// Squared norms of the weights that belong to each unit, in front of it and behind.
Scores magnitude_scores(const ir::Graph& dense, std::span<const Module> modules);

/// For each unit the sum over its columns of column_weight * |column of the `out` layer|^2.
Scores output_scores(const ir::Graph& dense,
                     std::span<const Module> modules,
                     std::span<const std::vector<double>> column_weights);

/// Scores divided by what a unit costs in multiply-adds.
void divide_by_cost(const ir::Graph& dense,
                    std::span<const Module> modules,
                    Index seq,
                    Scores& scores);

/// What the mean of the removed columns was worth moves into the bias of the `out` layer of
/// `graph`, which still has all its columns.
void compensate_means(ir::Graph& graph,
                      const Module& module,
                      std::span<const Index> kept,
                      const ColumnStatistics& statistics);

/// Units removed and costs as counters, and a table "modules" with a row for each.
PassReport describe(std::span<const Module> modules, const Plan& plan);

}  // namespace rtai::prune
