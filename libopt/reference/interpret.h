// The reference interpreter: any graph of either level, slowly and plainly, in fp32.
//
// It folds constants, checks every pass (same outputs before and after) and is the oracle of every
// kernel. 16-bit floats are computed in f32 and rounded back; integers wrap around. Every shape,
// axis and index is checked, so that no graph and no input can make it crash.
#pragma once

#include "libopt/ir/graph.h"

#include <map>
#include <optional>
#include <span>
#include <vector>

namespace rtai::reference {

/// What a run needs besides its inputs.
struct Run {
  /// Where the packed sequences begin, and the end of the last: 0 = offsets[0] < ... = tokens.
  /// Empty: all tokens are one sequence. Only the transformer level looks at it.
  std::vector<Index> offsets = {};

  /// Values that are taken from here instead of being computed.
  std::map<ir::ValueId, ir::Tensor> given = {};

  /// What to compute instead of the outputs of the graph. Inputs it does not depend on are not
  /// looked at.
  std::vector<ir::ValueId> wanted = {};

  /// Of everything computed and alive at one time; inputs and constants do not count.
  Index memory_limit_bytes = Index{4} << 30;

  /// Multiplications and copies of one element; minutes rather than hours, whatever the graph.
  Index work_limit = Index{1} << 42;
};

/// Runs `graph` on `inputs` (one for each graph input) and returns its outputs, or run.wanted.
///
/// Errors: invalid_input, naming the node, for shapes, axes, indices, sizes and element types that
/// do not fit; unsupported when a limit of `run` would be passed (before memory is taken); device
/// when memory runs out.
Result<std::vector<ir::Tensor>> interpret(const ir::Graph& graph,
                                          std::span<const ir::Tensor> inputs,
                                          const Run& run = {});

/// The values of the graph: inputs, constants and every result. Nothing is freed on the way.
///
/// Errors: as interpret.
Result<std::map<ir::ValueId, ir::Tensor>> interpret_all(const ir::Graph& graph,
                                                        std::span<const ir::Tensor> inputs,
                                                        const Run& run = {});

/// The results of one node, as many as it has outputs; `inputs` has null where an optional input is
/// not given.
///
/// Errors: as interpret, without the name of the node.
Result<std::vector<ir::Tensor>> evaluate(const ir::Node& node,
                                         std::span<const ir::Tensor* const> inputs,
                                         const Run& run = {});

/// evaluate() for who leaves a node that cannot run as it is: nothing then. Without memory
/// std::bad_alloc is thrown: that says nothing of the node.
std::optional<std::vector<ir::Tensor>> try_evaluate(const ir::Node& node,
                                                    std::span<const ir::Tensor* const> inputs,
                                                    const Run& run = {});

}  // namespace rtai::reference
