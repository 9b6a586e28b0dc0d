// The rows of the word table: which tokens a model knows.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/result.h"

#include <span>

namespace rtai::prune {

/// Leaves only the rows `kept` (ascending ids) in the word table; id kept[i] becomes id i.
///
/// Errors: unsupported if the model reads no ids, or if something else than its embedding uses the
/// table (an output layer tied to it); invalid_input for an id that has no row.
Result<void> keep_words(ir::Graph& graph, std::span<const Index> kept);

}  // namespace rtai::prune
