// What a mask does, told from its values.
#pragma once

#include "libopt/raise/internal/meaning.h"

namespace rtai::raise {

struct MaskMeaning {
  double scale = 1;     // of the products of queries and keys
  bool causal = false;  // later keys are hidden, too
};

/// Padded keys must be hidden from every real query: their shift is so low that softmax gives 0.
/// Real keys keep one common factor, and for each query one common shift, which softmax ignores.
///
/// Errors: unsupported, saying at which place the scores differ from that.
Result<MaskMeaning> mask_meaning(const Scores& scores, std::span<const Probe> probes);

}  // namespace rtai::raise
