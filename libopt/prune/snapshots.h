// What each module may become: its levels, and what each of them does to the model.
#pragma once

#include "libopt/prune/judge.h"
#include "libopt/prune/modules.h"
#include "libopt/prune/obs.h"
#include "runtime/base/log.h"

#include <functional>
#include <span>
#include <vector>

namespace rtai::prune {

/// One module with its order of removal.
struct Snapshots {
  Module module;
  Layer out;         // the dense `out` layer
  Covariance units;  // second moments of what it reads
  RemovalPath path;
  double ridge = 0.01;
  bool droppable = true;  // level 0 can be expressed

  std::size_t levels() const { return path.levels.size(); }
  SurgeryTask task() const;
  /// The `out` layer that imitates the dense one best with the units of level `i` alone; at level 0
  /// its weight has no columns.
  Result<Layer> layer_at(std::size_t i) const;
};

struct SnapshotOptions {
  double ridge = 0.01;
  std::span<const ir::Tensor> metrics = {};  // of each module's sum, for the order of removal
  Index columns_at_once = 32;                // of an FFN, removed between two updates
  int threads = 1;
};

/// Second moments of every module's units over the texts, then its order of removal.
///
/// Errors: as Evaluator::run, removal_path.
Result<std::vector<Snapshots>> take_snapshots(const ir::Graph& dense,
                                              std::span<const Module> modules,
                                              const TokenBatch& texts,
                                              Evaluator& evaluator,
                                              const SnapshotOptions& options,
                                              Log& log);

/// Puts level `i` of a module into a copy of the dense graph.
Result<void> put_snapshot(ir::Graph& graph, const Snapshots& snapshots, std::size_t i);

/// Gives a module that has been narrowed to level `i` the weights of that level.
Result<void> put_weights(ir::Graph& graph, const Snapshots& snapshots, std::size_t i);

/// The damage at each level by the local error alone: a share of the module's own output.
std::vector<double> local_harm(const Snapshots& snapshots);

/// The divergence of the model's outputs with one module at each of its levels and all others
/// whole: measured at `points` levels, between them interpolated in the logarithm of divergence
/// over local error; never falling as units go. The judge must stand in front of the first module.
/// Modules whose turn does not come before `is_late` says so take over the ratio of divergence and
/// local error of the last measured one of their kind.
///
/// Errors: as Evaluator::run.
Result<std::vector<std::vector<double>>> measure_harm(const ir::Graph& dense,
                                                      std::span<const Snapshots> snapshots,
                                                      Judge& judge,
                                                      int points,
                                                      const std::function<bool()>& is_late,
                                                      Log& log);

/// The divergence of the model's outputs without each layer and with all others whole; infinite for
/// a layer that cannot be dropped. The judge must stand in front of the first module.
///
/// Errors: as Evaluator::run.
Result<std::vector<double>> measure_layer_harm(const ir::Graph& dense,
                                               std::span<const Snapshots> snapshots,
                                               Judge& judge,
                                               Log& log);

}  // namespace rtai::prune
