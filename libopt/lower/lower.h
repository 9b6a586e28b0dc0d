// Graph -> engine: the last step of every command that writes one.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/result.h"
#include "runtime/engine/engine.h"

namespace rtai {

/// Makes an engine in memory from a graph of the transformer level: one program step for each node,
/// weights packed in panels, the column sums that int8 kernels want added. Tokenizer, labels and
/// metadata stay empty. The same graph gives the same bytes.
///
/// Errors: unsupported for a node that is not of the transformer level; internal if the graph is
/// invalid; device if there is not enough memory.
Result<engine::Engine> lower(const ir::Graph& graph);

}  // namespace rtai
