// Terms as a graph of the transformer level.
#pragma once

#include "libopt/raise/internal/terms.h"
#include "libopt/raise/roles.h"

#include <span>

namespace rtai::raise {

/// One output of the graph.
struct OutputTerm {
  std::string name;
  TermId term;
};

/// Makes nodes of the terms that the outputs need, in their order. Weights that several terms share
/// become one constant; queries, keys and values become one linear layer.
///
/// Errors: unsupported, naming the term that has no operator (attention on what is not a linear
/// layer, an embedding without a word table, ...).
Result<ir::Graph> emit(std::span<const Term> terms,
                       std::span<const OutputTerm> outputs,
                       const Interface& interface);

}  // namespace rtai::raise
