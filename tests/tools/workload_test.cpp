#include "tools/workload.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <numeric>

namespace rtai::tools {
namespace {

/// Lengths 0, 1, 2, ... in batches of `batch`.
Workload sorted_lengths(int count, int batch) {
  Workload workload;
  workload.batch = batch;
  workload.lengths.resize(static_cast<std::size_t>(count));
  std::iota(workload.lengths.begin(), workload.lengths.end(), 0);
  return workload;
}

TEST_CASE("every length is in one batch, as far as batches can be filled") {
  for (const int batch : {1, 3, 8}) {
    for (int count = batch; count <= 64 * batch; count += 5) {
      std::vector<int> firsts = batches_of(sorted_lengths(count, batch));
      std::ranges::sort(firsts);
      REQUIRE(std::ssize(firsts) == count / batch);
      for (std::size_t i = 0; i < firsts.size(); ++i)
        REQUIRE(firsts[i] == static_cast<int>(i) * batch);
    }
  }
}

TEST_CASE("a workload of one length, or of fewer than a batch, has one batch") {
  CHECK(batches_of(Workload()) == std::vector<int>{0});
  CHECK(batches_of(sorted_lengths(3, 8)) == std::vector<int>{0});
}

TEST_CASE("of many sorted lengths the first batches stand for all") {
  for (const int count : {100, 2'000, 10'001}) {
    const std::vector<int> firsts = batches_of(sorted_lengths(count, 1));
    REQUIRE(firsts.size() == 64);
    const double mean = std::accumulate(firsts.begin(), firsts.begin() + 16, 0.0) / 16;
    CHECK(mean > 0.4 * count);
    CHECK(mean < 0.6 * count);
    CHECK(std::ranges::max(firsts) >= count * 9 / 10);
  }
}

}  // namespace
}  // namespace rtai::tools
