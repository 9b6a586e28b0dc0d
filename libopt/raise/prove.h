// Proof that a raised graph computes what the imported one does, by running both.
#pragma once

#include "libopt/ir/graph.h"

namespace rtai::raise {

struct ProofOptions {
  std::uint64_t seed = 1;
  /// Real tokens of the sequences of one padded batch; those of another length are cut or repeated
  /// where the imported graph prescribes its sizes.
  std::vector<Index> lengths = {5, 2, 1};
  /// Largest difference, relative to the largest magnitude of the output (at least 1). Two orders
  /// of summation of f32 differ by some 1e-6 in real models.
  double tolerance = 1e-4;
};

struct Proof {
  double difference = 0;  // the largest at real tokens, over all outputs
  double magnitude = 0;   // the largest of the imported graph's results there
};

/// Runs `original` on a padded batch with random ids and `raised` on the same tokens packed, both
/// in the reference interpreter, and compares all outputs at real tokens.
///
/// Errors: internal if an output differs by more than the tolerance, with its name and place: the
/// raised graph must not be used; otherwise as interpret().
Result<Proof> prove(const ir::Graph& original,
                    const ir::Graph& raised,
                    const ProofOptions& options = {});

}  // namespace rtai::raise
