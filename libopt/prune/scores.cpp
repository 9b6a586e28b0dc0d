#include "libopt/prune/scores.h"

#include "libopt/prune/walk.h"

#include <algorithm>

namespace rtai::prune {
namespace {

double squared(float value) {
  return static_cast<double>(value) * value;
}

/// Squared norm of each column of a matrix.
std::vector<double> column_norms(const ir::Tensor& matrix) {
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const auto values = matrix.data<float>();
  std::vector<double> norms(columns, 0.0);
  for (std::size_t i = 0; i < values.size(); ++i)
    norms[i % columns] += squared(values[i]);
  return norms;
}

/// Squared norm of each row of a matrix.
std::vector<double> row_norms(const ir::Tensor& matrix) {
  const auto columns = static_cast<std::size_t>(matrix.dim(1));
  const auto values = matrix.data<float>();
  std::vector<double> norms(static_cast<std::size_t>(matrix.dim(0)), 0.0);
  for (std::size_t i = 0; i < values.size(); ++i)
    norms[i / columns] += squared(values[i]);
  return norms;
}

void add_columns(const ir::Tensor& rows, ColumnStatistics& sums) {
  const auto columns = static_cast<std::size_t>(rows.dim(1));
  const auto values = rows.data<float>();
  for (std::size_t i = 0; i < values.size(); ++i) {
    sums.mean[i % columns] += values[i];
    sums.square[i % columns] += squared(values[i]);
  }
}

}  // namespace

Result<std::vector<ColumnStatistics>> column_statistics(const ir::Graph& dense,
                                                        std::span<const Module> modules,
                                                        const TokenBatch& texts,
                                                        Evaluator& evaluator,
                                                        Log& log) {
  if (texts.tokens() == 0)
    return Error{ErrorCode::invalid_input, "no tokens to take statistics of"};
  Walk walk(texts, evaluator);
  std::vector<ColumnStatistics> all;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    log.progress("statistics", static_cast<double>(m), static_cast<double>(modules.size()));
    const Module& module = modules[m];
    if (const auto cut = cut_before(dense, module)) RTAI_TRY_VOID(walk.advance(dense, *cut));
    const auto columns = static_cast<std::size_t>(module.count * module.width);
    ColumnStatistics sums{std::vector<double>(columns, 0.0), std::vector<double>(columns, 0.0)};
    for (Index batch = 0; batch < walk.batches(); ++batch) {
      RTAI_TRY(const auto values, walk.run(dense, batch, std::span(&module.units, 1)));
      add_columns(values[0], sums);
    }
    for (std::vector<double>* list : {&sums.mean, &sums.square}) {
      for (double& sum : *list)
        sum /= static_cast<double>(walk.tokens());
    }
    all.push_back(std::move(sums));
  }
  log.progress("statistics", 0, 0);
  return all;
}

Scores magnitude_scores(const ir::Graph& dense, std::span<const Module> modules) {
  Scores scores;
  for (const Module& module : modules) {
    const std::vector<double> rows = row_norms(layer_of(dense, module.in).weight);
    const std::vector<double> columns = column_norms(layer_of(dense, module.out).weight);
    std::vector<double> norms;
    for (Index unit = 0; unit < module.count; ++unit) {
      double sum = 0;
      const std::span only(&unit, 1);
      for (const Index row : unit_rows(module, only))
        sum += rows[static_cast<std::size_t>(row)];
      for (const Index column : unit_columns(module, only))
        sum += columns[static_cast<std::size_t>(column)];
      norms.push_back(sum);
    }
    scores.push_back(std::move(norms));
  }
  return scores;
}

Scores output_scores(const ir::Graph& dense,
                     std::span<const Module> modules,
                     std::span<const std::vector<double>> column_weights) {
  Scores scores;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const std::vector<double> norms = column_norms(layer_of(dense, modules[m].out).weight);
    std::vector<double> sums(static_cast<std::size_t>(modules[m].count), 0.0);
    for (std::size_t c = 0; c < norms.size(); ++c)
      sums[c / static_cast<std::size_t>(modules[m].width)] += norms[c] * column_weights[m][c];
    scores.push_back(std::move(sums));
  }
  return scores;
}

void divide_by_cost(const ir::Graph& dense,
                    std::span<const Module> modules,
                    Index seq,
                    Scores& scores) {
  const CostModel costs = count_flops(dense, modules, seq);
  for (std::size_t m = 0; m < modules.size(); ++m) {
    for (double& score : scores[m])
      score /= costs.modules[m].at(1);
  }
}

void compensate_means(ir::Graph& graph,
                      const Module& module,
                      std::span<const Index> kept,
                      const ColumnStatistics& statistics) {
  Layer layer = layer_of(graph, module.out);
  const auto values = layer.weight.data<float>();
  const std::size_t columns = statistics.mean.size();
  const auto width = static_cast<std::size_t>(module.width);
  for (std::size_t row = 0; row < layer.bias.size(); ++row) {
    double lost = 0;
    for (std::size_t c = 0; c < columns; ++c) {
      if (std::ranges::binary_search(kept, static_cast<Index>(c / width))) continue;
      lost += values[row * columns + c] * statistics.mean[c];
    }
    layer.bias[row] += static_cast<float>(lost);
  }
  set_layer(graph, module.out, layer);
}

PassReport describe(std::span<const Module> modules, const Plan& plan) {
  Counter heads{.name = "heads removed"};
  Counter columns{.name = "FFN columns removed"};
  FigureTable table{.name = "modules",
                    .columns = {"layer", "is_ffn", "units_before", "units", "cost_before", "cost"},
                    .rows = {}};
  for (std::size_t m = 0; m < modules.size(); ++m) {
    const Module& module = modules[m];
    const Index kept = std::ssize(plan.kept[m]);
    const bool is_ffn = module.kind == ModuleKind::ffn;
    (is_ffn ? columns : heads).value += static_cast<double>(module.count - kept);
    table.rows.push_back({static_cast<double>(module.layer), is_ffn ? 1.0 : 0.0,
                          static_cast<double>(module.count), static_cast<double>(kept),
                          plan.costs.modules[m].at(module.count), plan.costs.modules[m].at(kept)});
  }
  PassReport report{.changed = heads.value + columns.value > 0,
                    .counters = {heads,
                                 columns,
                                 {"target met", plan.met ? 1.0 : 0.0},
                                 {"cost before", plan.dense_cost},
                                 {"cost predicted", plan.predicted_cost}},
                    .tables = {std::move(table)}};
  if (plan.measured_cost) report.counters.push_back({"cost measured", *plan.measured_cost});
  return report;
}

}  // namespace rtai::prune
