#include "libopt/quant/grid.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <random>

namespace rtai::quant {
namespace {

TEST_CASE("the integers behind rounded products are found again") {
  std::mt19937 random(3);
  for (int run = 0; run < 200; ++run) {
    const float scale = std::ldexp(1.0f + static_cast<float>(random() % 1000) / 1000, -9);
    std::vector<std::int32_t> integers = {1};  // no common factor
    std::vector<float> values;
    for (int i = 0; i < 64; ++i)
      integers.push_back(static_cast<std::int32_t>(random() % 255) - 127);
    for (const std::int32_t integer : integers)
      values.push_back(static_cast<float>(integer) * scale * 0.125f * 1.1f / 1.1f);
    const auto grid = grid_of(values);
    REQUIRE(grid);
    CHECK(grid->integers == integers);
    CHECK(grid->scale == Approx(scale / 8).epsilon(1e-6));
  }
}

TEST_CASE("a common factor belongs to the scale, and -128 is an integer") {
  const auto grid = grid_of(std::vector<float>{-6, 4, 0});
  REQUIRE(grid);
  CHECK(grid->integers == std::vector<std::int32_t>{-3, 2, 0});
  CHECK(grid->scale == 2);
  CHECK(grid_of(std::vector<float>{-128, 1}));
}

TEST_CASE("numbers that were not made from int8 have no grid") {
  CHECK_FALSE(grid_of(std::vector<float>{128, 1}));
  CHECK_FALSE(grid_of(std::vector<float>{200, 1, -3}));
  CHECK_FALSE(grid_of(std::vector<float>{1, std::nanf("")}));
  CHECK_FALSE(grid_of(std::vector<float>{INFINITY, 1}));
  CHECK_FALSE(grid_of(std::vector<float>{1e-44f, 2e-44f}));
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  std::vector<float> values(64);
  for (float& value : values)
    value = normal(random);
  CHECK_FALSE(grid_of(values));
}

TEST_CASE("zeros lie on every grid") {
  const auto grid = grid_of(std::vector<float>{0, 0});
  REQUIRE(grid);
  CHECK(grid->scale == 1);
}

}  // namespace
}  // namespace rtai::quant
