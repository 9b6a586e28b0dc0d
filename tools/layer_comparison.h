// Where on the way through two models their values part.
#pragma once

#include "tools/predict.h"

#include <span>
#include <string>
#include <vector>

namespace rtai::tools {

/// How far the rows behind one normalization of a model are from those of another.
struct LayerDifference {
  std::string name;   // "layer.3.ffn_norm"
  double cosine = 1;  // the mean over rows
  double nmse = 0;    // squared error over the variance of the first model's values
};

/// Compares what all normalizations that both models have, by their names, make of some texts. In
/// order of execution.
///
/// Errors: as Predictor::run.
Result<std::vector<LayerDifference>> compare_layers(const Model& first,
                                                    const Model& second,
                                                    std::span<const text::Encoding> encodings,
                                                    int threads,
                                                    const std::string& target);

}  // namespace rtai::tools
