#include "runtime/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace rtai {
namespace {

/// An exception may not leave its thread; a result may.
Result<void> try_piece(const std::function<Result<void>(Index piece)>& work, Index piece) {
  try {
    return work(piece);
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory"};
  }
}

}  // namespace

Result<void> for_each_piece(Index count,
                            int threads,
                            const std::function<Result<void>(Index piece)>& work) {
  std::vector<Result<void>> results(static_cast<std::size_t>(count));
  std::atomic<Index> next = 0;
  const auto run = [&] {
    for (Index piece = next++; piece < count; piece = next++)
      results[static_cast<std::size_t>(piece)] = try_piece(work, piece);
  };
  {
    std::vector<std::jthread> others;
    try {
      for (Index i = 1; i < std::min<Index>(threads, count); ++i)
        others.emplace_back(run);
    } catch (const std::system_error&) {  // no more threads: those there are do it
    }
    run();
  }
  for (Result<void>& result : results)
    RTAI_TRY_VOID(std::move(result));
  return {};
}

}  // namespace rtai
