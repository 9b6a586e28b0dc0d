// What an engine takes, to be checked before a request is put into a batch with others.
#pragma once

#include "runtime/base/result.h"
#include "runtime/engine/program.h"
#include "runtime/text/tokenizer.h"

namespace rtai::serve {

/// What ids and lengths an engine takes.
struct InputLimits {
  Index words = 0;      // ids below; 0: no limit known
  Index segments = 0;   // likewise
  Index positions = 0;  // tokens of a text
};

InputLimits limits_of(const engine::Program& program);

/// Errors: invalid_input for ids, segments or lengths that the engine has no rows for.
Result<void> check_encoding(const InputLimits& limits, const text::Encoding& encoding);

}  // namespace rtai::serve
