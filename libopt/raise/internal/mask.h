// What a mask does, told from its values.
#pragma once

#include "libopt/raise/internal/meaning.h"

namespace rtai::raise {

struct MaskMeaning {
  double scale = 1;       // of the products of queries and keys
  bool causal = false;    // later keys are hidden, too
  bool relative = false;  // scores are shifted by how far key and query are apart: relative_bias()
};

/// Padded keys must be hidden from every real query: their shift is so low that softmax gives 0.
/// Real keys keep one common factor, and for each query one common shift, which softmax ignores; or
/// a shift that depends on the head and on how far the key stands from the query.
///
/// Errors: unsupported, saying at which place the scores differ from that.
Result<MaskMeaning> mask_meaning(const Scores& scores, std::span<const Probe> probes);

/// The shifts of relative scores by head and distance, f32[heads, 2 * length - 1], read from a
/// probe of that length without padding.
///
/// Errors: unsupported if they depend on anything else.
Result<ir::Tensor> relative_bias(const Scores& scores, const Probe& probe);

}  // namespace rtai::raise
