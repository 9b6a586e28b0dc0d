// Which units a linear layer misses least: structured optimal brain surgery.
//
// A layer y = W x loses columns of x in groups. With H = E x x^T (centred) the damage of losing the
// group S and re-solving all others is tr(W_S (H^-1_SS)^-1 W_S^T), and H^-1 and W without S follow
// by elimination. Taking the groups of least damage first gives an order of removal; the weights
// that go with any number of kept groups are one ridge solve away.
//
// Hassibi and Stork 1992 (optimal brain surgeon); Kurtic, Frantar, Alistarh 2023, arXiv:2302.04089
// (groups, one-shot, snapshots for a latency table).
#pragma once

#include "libopt/prune/moments.h"

#include <span>
#include <vector>

namespace rtai::prune {

/// The layer that loses columns, and what is known of its source.
struct SurgeryTask {
  const ir::Tensor* weight = nullptr;  // f32[n, groups * width]
  const ir::Tensor* xx = nullptr;      // f32[k, k], centred second moments of the source
  const ir::Tensor* metric =
      nullptr;               // f32[m, n]: an error e of a row counts |metric e|^2; null: |e|^2
  Index width = 1;           // columns of a group
  Index groups_at_once = 1;  // removed between two updates
  double ridge = 0.01;       // of mean(diag(xx)), added to its diagonal
};

/// How a module looks at each level of a table.
struct RemovalPath {
  std::vector<Index> order;    // groups, first removed first
  std::vector<Index> levels;   // kept groups, ascending, from 0 to all
  std::vector<double> damage;  // at each level, as a share of E |W x|^2: 0 for all groups
  double ridge = 0;            // larger than asked for where the moments were singular

  /// The kept groups at level `i`, ascending.
  std::vector<Index> kept(std::size_t i) const;
  /// The level with this many groups, or the next larger one.
  std::size_t level_of(Index groups) const;
};

/// The order of removal, with the damage at each of `levels` (ascending, from 0 to all groups).
///
/// Errors: invalid_input if not even a large ridge makes the moments regular.
Result<RemovalPath> removal_path(const SurgeryTask& task, std::vector<Index> levels);

/// The weight f32[n, kept * width] that imitates the whole layer best with only the kept columns.
///
/// Errors: invalid_input if the moments are singular with the task's ridge.
Result<ir::Tensor> weight_on(const SurgeryTask& task, std::span<const Index> columns);

/// Levels worth a place in a table. Heads: every count. FFN columns: multiples of 32 up to 256 and
/// of 64 beyond, finer where there are fewer than 256.
std::vector<Index> head_levels(Index heads);
std::vector<Index> column_levels(Index columns);

}  // namespace rtai::prune
