// 16-bit and 64-bit floats as f32.
#pragma once

#include "libopt/ir/graph.h"

namespace rtai::raise {

/// Makes f32 of every f16, bf16 and f64: constants, casts, attributes, inputs and outputs. What was
/// stored in 16 bits keeps its value; what was rounded to 16 bits on the way no longer is.
///
/// Returns how many values and attributes changed.
Index widen_floats(ir::Graph& graph);

}  // namespace rtai::raise
