#include "libopt/raise/internal/axes.h"

#include <catch2/catch.hpp>

namespace rtai::raise {
namespace {

Probe probe(Index batch, Index length) {
  Probe result;
  result.batch = batch;
  result.length = length;
  result.lengths.assign(static_cast<std::size_t>(batch), length);
  return result;
}

/// Two runs of different sizes, and dims in both as functions of batch b and length s.
const std::vector<Probe> kProbes = {probe(2, 5), probe(3, 7)};

template <class F>
std::vector<ir::Dims> both(F&& f) {
  return {f(Index{2}, Index{5}), f(Index{3}, Index{7})};
}

const Axes kRows = {{kBatch}, {kToken}, {feature(12, 1)}};

}  // namespace

TEST_CASE("regroup cuts columns into heads and joins them again") {
  const auto heads = regroup(kRows, both([](Index b, Index s) {
                               return ir::Dims{b, s, 4, 3};
                             }),
                             kProbes);
  REQUIRE(heads);
  CHECK(*heads == Axes{{kBatch}, {kToken}, {feature(4, 3)}, {feature(3, 1)}});
  const auto joined = regroup(*heads, both([](Index b, Index s) {
    return ir::Dims{b, s, 12};
  }),
                              kProbes);
  REQUIRE(joined);
  CHECK(*joined == kRows);
}

TEST_CASE("regroup keeps the order of axes apart when a transpose came between") {
  const Axes heads = {{kBatch}, {feature(4, 3)}, {kToken}, {feature(3, 1)}};
  const auto folded = regroup(heads, both([](Index b, Index s) {
                                return ir::Dims{b * 4, s, 3};
                              }),
                              kProbes);
  REQUIRE(folded);
  CHECK(*folded == Axes{{kBatch, feature(4, 3)}, {kToken}, {feature(3, 1)}});
  // Columns that are not neighbours do not become one axis of columns.
  CHECK_FALSE(regroup(heads, both([](Index b, Index s) { return ir::Dims{b, s, 12}; }), kProbes));
}

TEST_CASE("regroup handles axes of size 1 anywhere") {
  const auto wide =
      regroup(kRows, both([](Index b, Index s) { return ir::Dims{1, b, 1, s, 12, 1}; }), kProbes);
  REQUIRE(wide);
  CHECK(*wide == Axes{{}, {kBatch}, {}, {kToken}, {feature(12, 1)}, {}});
}

TEST_CASE("regroup refuses to cut tokens or to mix sizes") {
  // 2 * 5 * 12 = 120 in one probe, 3 * 7 * 12 = 252 in the other
  CHECK_FALSE(regroup(kRows, both([](Index b, Index s) { return ir::Dims{s, b, 12}; }), kProbes));
  CHECK_FALSE(regroup(kRows, both([](Index b, Index s) { return ir::Dims{b, s, 5}; }), kProbes));
  CHECK_FALSE(regroup(kRows, both([](Index b, Index s) {
                        return ir::Dims{b * s * 12 / 6, 6};
                      }),
                      kProbes) == std::optional<Axes>(kRows));
  CHECK_FALSE(regroup(kRows, std::vector<ir::Dims>{{2, 5, 12}, {3, 84}}, kProbes));
  CHECK_FALSE(regroup(kRows, both([](Index, Index) { return ir::Dims{0, 12}; }), kProbes));
}

TEST_CASE("expand repeats over the batch and over heads, never over tokens") {
  const Axes positions = {{}, {kToken}, {feature(12, 1)}};
  const auto batched = expand(positions, both([](Index b, Index s) {
                                return ir::Dims{b, s, 12};
                              }),
                              kProbes);
  REQUIRE(batched);
  CHECK(*batched == kRows);
  const auto heads = expand({{kBatch}, {}, {kToken}, {feature(3, 1)}}, both([](Index b, Index s) {
                              return ir::Dims{b, 4, s, 3};
                            }),
                            kProbes);
  REQUIRE(heads);
  CHECK((*heads)[1] == Axis{feature(4, 0)});
  const Axes pooled = {{kBatch}, {}, {feature(12, 1)}};
  CHECK_FALSE(expand(pooled, both([](Index b, Index s) { return ir::Dims{b, s, 12}; }), kProbes));
}

TEST_CASE("columns_of lists the columns that an axis walks through") {
  CHECK(columns_of({feature(2, 6), feature(3, 1)}) == std::vector<Index>{0, 1, 2, 6, 7, 8});
  CHECK(columns_of({}) == std::vector<Index>{0});
  CHECK_FALSE(columns_of({kToken}));
}

TEST_CASE("for_each_place gives each element its sequence, token and column") {
  const Axes axes = {{kToken}, {kBatch}, {feature(2, 1)}};
  std::vector<std::string> seen;
  // One number for each token, broadcast over the rest.
  for_each_place(axes, kProbes[0], {5, 1, 1}, [&](const Place& place, Index element) {
    CHECK(element == place.token);
    seen.push_back(std::to_string(place.batch) + std::to_string(place.token) +
                   std::to_string(place.feature));
  });
  REQUIRE(seen.size() == 20);
  CHECK(seen[0] == "000");
  CHECK(seen[1] == "001");
  CHECK(seen[2] == "100");
  CHECK(seen[4] == "010");
}

}  // namespace rtai::raise
