// A short distillation: gradient steps that bring a narrowed model nearer to the whole one.
#pragma once

#include "libopt/prune/judge.h"
#include "libopt/prune/modules.h"
#include "runtime/base/log.h"

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace rtai::prune {

struct RefineOptions {
  double seconds = 0;  // until the steps end, and
  Index steps = 0;     // how many there may be; 0: as many as the time allows
  double rate = 5e-5;  // of Adam at its highest
  double swap = 0.2;   // share of sub-words replaced in every second text
  int threads = 1;
  std::uint64_t seed = 0;
  std::function<bool()> is_late = [] { return false; };  // asked before each step
};

/// What the steps did; divergences are those of the judge.
struct Refinement {
  Index steps = 0;
  double before = 0;
  double after = 0;  // as before, if the steps were taken back
};

/// Adam on the weights, biases and norms of `student` behind the embeddings. A step sees some
/// texts and as many copies with words swapped anew, which the dense model answers; it lessens
///
///   the divergence of the outputs, as Judge measures it, plus
///   the mean over all modules of |sum - dense sum|^2 / |dense sum - its mean|^2.
///
/// The rate rises over the first twentieth and falls to 0 at the end. Where the judge finds the
/// result no nearer to the dense model, `student` gets its old weights back.
///
/// Modules are as in rebuild(). With `steps` that end before the time, the same seed gives the same
/// weights on any number of threads.
///
/// Errors: as Tape::record and Evaluator::run; invalid_input if there are no texts.
/// Sources: Hinton et al. 2015, arXiv:1503.02531; Kingma and Ba 2015, arXiv:1412.6980.
Result<Refinement> refine(const ir::Graph& dense,
                          ir::Graph& student,
                          std::span<const Module> modules,
                          std::span<const std::vector<Index>> kept,
                          const TokenBatch& texts,
                          Judge& judge,
                          Evaluator& evaluator,
                          const RefineOptions& options,
                          Log& log);

}  // namespace rtai::prune
