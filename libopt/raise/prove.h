// Proof that a raised graph computes what the imported one does, by running both.
#pragma once

#include "libopt/ir/graph.h"

namespace rtai::raise {

struct ProofOptions {
  std::uint64_t seed = 1;
  /// Real tokens of the sequences of one padded batch, cut or repeated where the imported graph
  /// prescribes its sizes. Empty: a few, fewer for a large model, so that the proof takes less time
  /// than reading the file.
  std::vector<Index> lengths = {};
  /// Largest difference, relative to the largest magnitude of the output (at least 1). Two orders
  /// of summation of f32 differ by some 1e-6 in real models. A hundred times as much for models of
  /// 16-bit floats, whose constants are rounded.
  double tolerance = 1e-4;
};

struct Proof {
  double difference = 0;  // the largest at real tokens, over all outputs
  double magnitude = 0;   // the largest of the imported graph's results there
};

/// Runs `imported` on a padded batch with random ids and `raised` on the same tokens packed, both
/// in the reference interpreter, and compares all outputs at real tokens. A model of 16-bit floats
/// is run in f32: what its operators mean, without the rounding on the way.
///
/// Errors: invalid_input if a weight, or an output of `imported`, is NaN or infinite; internal if
/// an output differs by more than the tolerance, with its name and place: the raised graph must not
/// be used; otherwise as interpret().
Result<Proof> prove(const ir::Graph& imported,
                    const ir::Graph& raised,
                    const ProofOptions& options = {});

}  // namespace rtai::raise
