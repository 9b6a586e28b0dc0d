// What linear layers read, collected while texts stream by.
#pragma once

#include "libopt/quant/site.h"
#include "runtime/base/result.h"

#include <span>
#include <vector>

namespace rtai::quant {

/// Keeps some rows of each source, evenly spread over all texts, and the largest magnitudes of all
/// rows: memory does not grow with the texts.
class SourceSampler {
 public:
  /// `rows`: how many rows there will be in all, at most; `kept`: how many to keep.
  SourceSampler(Index rows, std::size_t sources, Index kept = 512);

  /// The rows of every source for some texts: f32[rows, k].
  void add(std::span<const ir::Tensor> values);

  /// Errors: invalid_input if there were no rows, or one held NaN or infinity.
  Result<SourceRows> take(std::size_t source);

 private:
  struct Source {
    std::vector<float> rows;    // [kept, k]
    std::vector<float> absmax;  // [k]
    Index seen = 0;
    bool is_finite = true;
  };

  Index step_;  // every step_th row is kept
  std::vector<Source> sources_;
};

}  // namespace rtai::quant
