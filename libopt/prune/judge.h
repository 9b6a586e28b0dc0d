// How far the answers of a changed model are from those of the whole one.
#pragma once

#include "libopt/prune/walk.h"

#include <span>
#include <vector>

namespace rtai::prune {

/// How the rows of an output are compared.
enum class Comparison : std::uint8_t {
  classes,    // Kullback-Leibler divergence of the softmax over the columns
  positions,  // the same of the softmax over the tokens of each sequence, column by column
  values,     // squared error, relative to the variance of the dense values
};

/// What an output most likely holds, by how it is made: a linear layer (or columns of it) with
/// several columns makes classes, with one column for each token positions; all else is values.
Comparison comparison_of(const ir::Graph& graph, ir::ValueId output);

/// Entries of an output that share a softmax: first, first + stride, ...
struct Group {
  Index first = 0;
  Index count = 0;
  Index stride = 1;
};

/// The groups that count in an output of sequences: each row for classes (of tokens, those at both
/// ends of a sequence are left out: marks), each sequence and column for positions; none for
/// values.
std::vector<Group> softmax_groups(Comparison comparison,
                                  const ir::Tensor& output,
                                  std::span<const Index> offsets);

/// The softmax of a group, into `shares`.
void softmax(const Group& group, std::span<const float> values, std::vector<double>& shares);

/// The outputs of the dense model on some texts, to compare others with.
class Judge {
 public:
  /// `texts` and `evaluator` must outlive the judge.
  ///
  /// Errors: as Evaluator::run.
  static Result<Judge> make(const ir::Graph& dense, const TokenBatch& texts, Evaluator& evaluator);

  /// Where the walk over the texts stands; moves forward only.
  Result<void> advance(const ir::Graph& dense, ir::ValueId place) {
    return walk_.advance(dense, place);
  }

  /// The divergence of the outputs of `changed`, computed from the place on; summed over outputs,
  /// averaged over what softmax_groups() names.
  ///
  /// Errors: as Evaluator::run.
  Result<double> divergence(const ir::Graph& changed);

  Index tokens() const { return walk_.tokens(); }

 private:
  Judge(const TokenBatch& texts, Evaluator& evaluator) : walk_(texts, evaluator) {}

  Walk walk_;
  std::vector<Comparison> comparisons_;         // of each output
  std::vector<std::vector<ir::Tensor>> dense_;  // [batch][output]
};

}  // namespace rtai::prune
