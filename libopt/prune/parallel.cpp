#include "libopt/prune/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

namespace rtai::prune {

Result<void> for_each_piece(Index count,
                            int threads,
                            const std::function<Result<void>(Index piece)>& work) {
  std::vector<Result<void>> results(static_cast<std::size_t>(count));
  std::atomic<Index> next = 0;
  const auto run = [&] {
    for (Index piece = next++; piece < count; piece = next++)
      results[static_cast<std::size_t>(piece)] = work(piece);
  };
  {
    std::vector<std::jthread> others;
    for (Index i = 1; i < std::min<Index>(threads, count); ++i)
      others.emplace_back(run);
    run();
  }
  for (Result<void>& result : results)
    RTAI_TRY_VOID(std::move(result));
  return {};
}

}  // namespace rtai::prune
