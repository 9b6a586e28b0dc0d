// What a batch must be for a program, on whatever device it runs.
#pragma once

#include "runtime/exec/session.h"

namespace rtai::exec {

/// What the program's embeddings allow.
struct InputLimits {
  Index vocabulary = 0;  // 0: no ids are read
  Index segments = 0;    // 0: no segments are read
  Index longest = 0;     // tokens of a sequence
  Index position_offset = 0;
  Index hidden = 0;  // columns of a hidden-state input, 0: none
};
InputLimits limits_of(const engine::Program& program);

/// The longest sequence of the batch. Errors: those of Session::run.
Result<Index> check_batch(const Batch& batch, const InputLimits& limits);

}  // namespace rtai::exec
