// From ONNX operators to transformer operators, by what the values mean.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/ir/obstacle.h"
#include "runtime/base/log.h"

#include <vector>

namespace rtai::raise {

/// The graph of the transformer level (libopt/ir/ops.h) that computes the outputs of an imported
/// encoder for packed tokens. Inputs become `ids` and, where the model has them, `segments`
/// i32[tokens]; outputs keep their names as rows of tokens or of sequences.
///
/// Every node is read in order and its results given a meaning: rows of tokens seen through some
/// axes, attention scores, probabilities, or plain numbers of masks and shapes. Nothing is matched
/// by name, and nothing by a list of nodes. Expects gelu and layer_normalization as operators (the
/// passes fuse-activations and fuse-layer-norm) and f32 throughout (widen-floats).
///
/// The log hears of what had to be assumed: positions that were an input count from 0.
///
/// Errors: unsupported, in one line naming the first node that does not fit, what its inputs mean
/// and what was expected; invalid_input where the graph cannot run at all.
Result<ir::Graph> raise_transformer(const ir::Graph& imported, Log& log = silent_log());

/// What keeps raise_transformer() from its result: every node that does not fit and that an output
/// depends on, in order of execution. What depends on such a node is not looked at. None if all
/// fits, or if it is the interface that does not.
///
/// Errors: as raise_transformer, where the graph cannot run.
Result<std::vector<ir::Obstacle>> find_obstacles(const ir::Graph& imported);

}  // namespace rtai::raise
