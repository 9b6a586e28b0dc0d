// Runs of an imported graph on invented inputs of a few sizes.
//
// What depends only on shapes, masks and ids is computed and can be looked at: whatever nodes made
// it, a mask is recognized by its values. Of what passed a product with weights only the dimensions
// are kept. Comparing the runs tells which dimensions are the batch, the length, or constant.
#pragma once

#include "libopt/raise/roles.h"

#include <map>
#include <span>
#include <vector>

namespace rtai::raise {

/// Bytes that a run of `graph` on invented inputs may take beside the weights. Where batch and
/// length are fixed scores can be large, and so they may be where the weights are; a small file
/// shall not take all memory.
Index run_memory(const ir::Graph& graph);

/// One run.
class Probe {
 public:
  Index batch = 0;
  Index length = 0;            // of the padded sequences
  std::vector<Index> lengths;  // [batch] real tokens, in front; 0 is possible

  const ir::Dims& dims(ir::ValueId id) const { return at(id).dims(); }
  DType dtype(ir::ValueId id) const { return at(id).dtype(); }
  /// The value, or null if its elements were not computed.
  const ir::Tensor* contents(ir::ValueId id) const { return is_known(id) ? &at(id) : nullptr; }
  bool is_known(ir::ValueId id) const { return known_[static_cast<std::size_t>(id)]; }

 private:
  friend class Tracer;
  friend Result<Probe> probe_values(const ir::Graph& graph,
                                    const Interface& interface,
                                    Index length,
                                    std::span<const ir::ValueId> wanted,
                                    std::map<ir::ValueId, ir::Tensor> given);
  const ir::Tensor& at(ir::ValueId id) const { return values_[static_cast<std::size_t>(id)]; }

  std::vector<ir::Tensor> values_;  // of what is not known: zeros of the right dimensions and type
  std::vector<bool> known_;
};

struct Trace {
  Interface interface;
  std::vector<Probe> probes;
};

/// Runs `graph`, whose inputs recognize_inputs() understands, on three batches: ragged, full, and
/// with an empty sequence (without a mask, all are full).
///
/// Errors: as recognize_inputs; invalid_input or unsupported, naming the node that cannot run or
/// takes more than run_memory().
Result<Trace> trace(const ir::Graph& graph);

/// A probe of sequences of `length` without padding, in which only `wanted` is known. `given` need
/// not be computed.
///
/// Errors: as trace.
Result<Probe> probe_values(const ir::Graph& graph,
                           const Interface& interface,
                           Index length,
                           std::span<const ir::ValueId> wanted,
                           std::map<ir::ValueId, ir::Tensor> given);

/// The graph inputs for sequences of `lengths`, padded to `length`. Ids and segments follow from
/// `seed`; positions count from 0; the mask is 1 for real tokens, or their number if it is a
/// vector.
std::vector<ir::Tensor> make_inputs(const ir::Graph& graph,
                                    const Interface& interface,
                                    const std::vector<Index>& lengths,
                                    Index length,
                                    std::uint64_t seed);

}  // namespace rtai::raise
