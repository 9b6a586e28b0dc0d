// Independent pieces of work on a few threads.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/result.h"

#include <functional>

namespace rtai {

/// Runs work(0) ... work(count - 1) on at most `threads` threads. Which thread runs which piece is
/// left to chance, so no piece may depend on another.
///
/// Errors: that of the first piece, by its number, that failed.
Result<void> for_each_piece(Index count,
                            int threads,
                            const std::function<Result<void>(Index piece)>& work);

}  // namespace rtai
