// Parts of a graph as graphs of their own: what lies between some values and others.
#pragma once

#include "libopt/ir/graph.h"

#include <span>

namespace rtai::ir {

/// The nodes that `wanted` needs and `from` does not already give.
///
/// The values of `from` become the inputs of the part, in that order; inputs of the whole graph
/// that are needed beside them follow. The part's outputs are `wanted`, in that order. Constants
/// are shared, not copied; names are kept.
Graph extract(const Graph& graph, std::span<const ValueId> from, std::span<const ValueId> wanted);

}  // namespace rtai::ir
