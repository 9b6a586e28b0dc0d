// New weights for a narrowed model, from bottom to top, so that it imitates the whole one.
#pragma once

#include "libopt/prune/snapshots.h"

#include <functional>
#include <span>
#include <vector>

namespace rtai::prune {

/// What is solved again: all linear layers; outer ones, which feed the residual; or of those only
/// one factor for each unit.
enum class Refit : std::uint8_t { all, outer, scales };

struct RebuildOptions {
  double ridge = 0.01;
  Refit refit = Refit::all;
  int threads = 1;
  std::function<bool()> is_late = [] { return false; };  // asked before each module
};

/// Re-solves the linear layers of every module of `student` in order of execution. Each sees what
/// the student computes so far, and aims at what the dense model computes:
///
///   q, k, v and the first FFN layer: the dense rows of the kept units on the dense source;
///   the layer before the residual addition: the dense sum minus the student's own residual, so
///   that it also makes up for what went wrong below.
///
/// `student` is the dense graph after keep_units(kept[m]) for each module m. Ridge least squares
/// towards the weights it has, biases from the means; memory does not grow with the number of
/// texts but for the hidden states of one place in both models.
///
/// Returns the number of modules that are done: all, unless it was late.
///
/// Errors: as Evaluator::run, solve_ridge.
/// Source: sublayer-wise reconstruction, Park et al. 2024, arXiv:2308.03449.
Result<std::size_t> rebuild(const ir::Graph& dense,
                            ir::Graph& student,
                            std::span<const Module> modules,
                            std::span<const std::vector<Index>> kept,
                            const TokenBatch& texts,
                            Evaluator& evaluator,
                            const RebuildOptions& options,
                            Log& log);

}  // namespace rtai::prune
