// What the model's answers owe to each unit: derivatives by masks that are all 1.
#pragma once

#include "libopt/prune/judge.h"
#include "libopt/prune/modules.h"
#include "libopt/prune/scores.h"
#include "runtime/base/log.h"

#include <cstdint>
#include <span>
#include <vector>

namespace rtai::prune {

struct FisherOptions {
  int draws = 2;  // answers drawn for each text
  std::uint64_t seed = 0;
  int threads = 1;
};

/// d -log p(answer) / d mask for every unit of every module, one row for each text and draw.
///
/// No labels: the answers are drawn from what the model itself says, which is what the Fisher
/// information is made of: a class for each row, a token for each column of positions; for values,
/// the values themselves with noise of variance 1. The same on any number of threads.
///
/// Shapes: f32[texts * draws, count] for each module.
/// Errors: as Tape::record; invalid_input if there are no texts.
Result<std::vector<ir::Tensor>> mask_derivatives(const ir::Graph& dense,
                                                 std::span<const Module> modules,
                                                 const TokenBatch& texts,
                                                 const FisherOptions& options,
                                                 Log& log);

/// What the model's answers say to an error of each module's sum: a root S of the Fisher
/// information E g g^T of its rows, g = d -log p(answer) / d sum, so that an error e of a row
/// counts |S e|^2. With a hundredth of the mean diagonal on it, because texts are few. Answers are
/// drawn as in mask_derivatives; the same on any number of threads.
///
/// Shapes: f32[n, n] for each module, n the columns of its sum.
/// Errors: as mask_derivatives; invalid_input where derivatives are not finite.
Result<std::vector<ir::Tensor>> output_metrics(const ir::Graph& dense,
                                               std::span<const Module> modules,
                                               const TokenBatch& texts,
                                               const FisherOptions& options,
                                               Log& log);

/// The diagonal of the Fisher information of the masks: squares, summed over the rows.
Scores fisher_scores(std::span<const ir::Tensor> derivatives);

/// As many units as `kept` has (ascending), chosen again for what they do together: each kept unit
/// in turn, the least first, joins the removed ones, and the unit without which the removed ones do
/// least harm comes back.
///
/// Shapes: derivatives f32[rows, count].
/// Source: mask rearrangement within a layer, Kwon et al. 2022, arXiv:2204.09656, section 4.2.
std::vector<Index> rearranged(std::span<const Index> kept, const ir::Tensor& derivatives);

}  // namespace rtai::prune
