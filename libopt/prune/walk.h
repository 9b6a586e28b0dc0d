// Walking a model from module to module over a set of texts, without running its beginning again
// and again.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/pass/evaluator.h"

#include <optional>
#include <span>
#include <vector>

namespace rtai::prune {

/// Texts in batches of some thousand tokens, and the values of a model at one place for each.
///
/// The place starts at the inputs of the model and moves forward by advance(). Parts of the graph
/// behind the place may change between calls, parts in front of it no longer matter.
class Walk {
 public:
  /// `texts` and `evaluator` must outlive the walk.
  Walk(const TokenBatch& texts, Evaluator& evaluator);

  Index batches() const { return std::ssize(batches_); }
  Index tokens() const { return tokens_; }
  std::span<const Index> offsets(Index batch) const { return at(batch).offsets; }

  /// The values of `wanted` for one batch, computed from the place.
  ///
  /// Errors: as Evaluator::run.
  Result<std::vector<ir::Tensor>> run(const ir::Graph& graph,
                                      Index batch,
                                      std::span<const ir::ValueId> wanted);

  /// run(), which also remembers the value at `next`. Once all batches have run towards the same
  /// place, step() moves there; until then only batches that have not are to be run.
  Result<std::vector<ir::Tensor>> run_towards(const ir::Graph& graph,
                                              Index batch,
                                              std::span<const ir::ValueId> wanted,
                                              ir::ValueId next);
  void step(ir::ValueId next) { place_ = next; }

  /// Moves the place to `next`, from which all that is wanted later must follow.
  ///
  /// Errors: as Evaluator::run.
  Result<void> advance(const ir::Graph& graph, ir::ValueId next);

 private:
  const TokenBatch& at(Index batch) const { return batches_[static_cast<std::size_t>(batch)]; }

  Evaluator* evaluator_;
  std::vector<TokenBatch> batches_;
  Index tokens_ = 0;
  std::optional<ir::ValueId> place_;  // nothing: the inputs of the model
  std::vector<ir::Tensor> states_;    // values at the place, by batch
};

}  // namespace rtai::prune
