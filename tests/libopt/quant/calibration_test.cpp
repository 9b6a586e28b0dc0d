#include "libopt/quant/calibration.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <random>
#include <vector>

namespace rtai::quant {
namespace {

std::vector<float> normal_values(int count) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (int i = 0; i < count; ++i)
    values.push_back(normal(random));
  return values;
}

TEST_CASE("a percentile is the smallest magnitude that so many do not exceed") {
  std::vector<float> values;
  for (int i = 1000; i > 0; --i)
    values.push_back(static_cast<float>(i % 2 == 0 ? i : -i));
  CHECK(percentile_clip(values, 100, 1000) == 1);
  CHECK(percentile_clip(values, 99.9, 1000) == Approx(0.999));
  CHECK(percentile_clip(values, 99.85, 1000) == Approx(0.999));
  CHECK(percentile_clip(values, 95, 1000) == Approx(0.95));
  CHECK(percentile_clip(std::vector<float>{-3}, 50, 4) == 0.75);
}

TEST_CASE("entropy lets a few far values saturate, and none of an even distribution") {
  std::vector<float> values = normal_values(20'000);
  values.push_back(60);
  const double with_outlier = entropy_clip(values, 60);
  CHECK(with_outlier * 60 > 2);
  CHECK(with_outlier * 60 < 8);
  std::vector<float> even;
  for (int i = 0; i < 65'536; ++i)
    even.push_back((static_cast<float>(i) + 0.5f) / 65'536);
  CHECK(entropy_clip(even, 1) == 1);
}

TEST_CASE("entropy of zeros is a share above zero") {
  CHECK(entropy_clip(std::vector<float>(100, 0.0f), 1e-30f) > 0);
}

TEST_CASE("methods of calibration have the names that users know") {
  CHECK(calibration_method("minmax") == Calibration::Method::minmax);
  CHECK(calibration_method("percentile") == Calibration::Method::percentile);
  CHECK(calibration_method("mse") == Calibration::Method::mse);
  CHECK(calibration_method("entropy") == Calibration::Method::entropy);
  CHECK_FALSE(calibration_method("max"));
}

}  // namespace
}  // namespace rtai::quant
