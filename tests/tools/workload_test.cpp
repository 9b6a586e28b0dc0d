#include "tools/workload.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <numeric>
#include <random>
#include <span>
#include <vector>

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

TEST_CASE("any batches in turn have the lengths of all of them") {
  constexpr std::size_t kWindow = 16;
  std::mt19937 random(7);
  for (const int count : {100, 2'000, 10'001}) {
    Workload workload = sorted_lengths(count, 1);
    for (const bool is_sorted : {true, false}) {
      if (!is_sorted) std::ranges::shuffle(workload.lengths, random);
      std::vector<double> lengths;
      for (const int first : batches_of(workload))
        lengths.push_back(workload.lengths[static_cast<std::size_t>(first)]);
      REQUIRE(lengths.size() == 64);
      CHECK(std::ranges::max(lengths) >= count * 49 / 50);
      for (std::size_t i = 0; i + kWindow <= lengths.size(); ++i) {
        const auto window = std::span(lengths).subspan(i, kWindow);
        const double mean = std::accumulate(window.begin(), window.end(), 0.0) / kWindow;
        CHECK(mean > 0.44 * count);
        CHECK(mean < 0.57 * count);
      }
    }
  }
}

}  // namespace
}  // namespace rtai::tools
