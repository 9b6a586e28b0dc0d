#include "libopt/quant/site.h"

#include "libopt/quant/source_sampler.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>
#include <random>

namespace rtai::quant {
namespace {

using ir::Tensor;

/// Rows of a layer's source whose column `loud`, if any, is a hundred times the others.
SourceRows source_rows(Index rows, Index k, Index loud = -1) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (Index i = 0; i < rows * k; ++i)
    values.push_back(normal(random) * (i % k == loud ? 100.0f : 1.0f));
  SourceSampler sampler(rows, 1);
  const Tensor tensor = Tensor::from<float>({rows, k}, values);
  sampler.add({&tensor, 1});
  return sampler.take(0).value();
}

Tensor random_weight(Index n, Index k) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (Index i = 0; i < n * k; ++i)
    values.push_back(normal(random));
  return Tensor::from<float>({n, k}, values);
}

Result<Tensor> product(const Tensor& rows, const Tensor& weight) {
  std::vector<float> results;
  for (Index r = 0; r < rows.dim(0); ++r) {
    for (Index c = 0; c < weight.dim(0); ++c) {
      double sum = 0;
      for (Index i = 0; i < rows.dim(1); ++i)
        sum += rows.value(r * rows.dim(1) + i) * weight.value(c * rows.dim(1) + i);
      results.push_back(static_cast<float>(sum));
    }
  }
  return Tensor::from<float>({rows.dim(0), weight.dim(0)}, results);
}

TEST_CASE("a matrix without importance is rounded to within half a step of its rows") {
  const Tensor matrix = random_weight(5, 33);
  const QuantizedMatrix quantized = quantize_matrix(matrix).value();
  for (Index i = 0; i < matrix.elements(); ++i) {
    const double scale = quantized.scales.value(i / 33);
    CHECK(std::fabs(matrix.value(i) - quantized.integers.value(i) * scale) <= 0.5001 * scale);
  }
}

TEST_CASE("a large value of no importance is clipped for the others' sake") {
  std::vector<float> row(64);
  for (std::size_t i = 0; i < row.size(); ++i)
    row[i] = std::sin(static_cast<float>(i));
  row[5] = 1.25f;
  std::vector<float> importance(64, 1.0f);
  importance[5] = 0;
  const Tensor matrix = Tensor::from<float>({1, 64}, row);
  const double plain = quantize_matrix(matrix).value().scales.value(0);
  CHECK(plain == Approx(1.25 / 127));
  CHECK(quantize_matrix(matrix, importance).value().scales.value(0) < 0.95 * plain);
}

TEST_CASE("a weight that is not a number is refused with its row") {
  for (const float wrong :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const auto refused = quantize_matrix(Tensor::from<float>({2, 2}, {1.0f, 2.0f, 3.0f, wrong}));
    REQUIRE_FALSE(refused);
    CHECK(refused.error().code() == ErrorCode::invalid_input);
    CHECK(refused.error().message().find("row 1") == 0);
  }
}

TEST_CASE("rows of zeros and of denormals get scales that are normal") {
  const Tensor matrix = Tensor::from<float>({2, 2}, {0.0f, 0.0f, 1e-41f, -1e-42f});
  const QuantizedMatrix quantized = quantize_matrix(matrix).value();
  for (Index row = 0; row < 2; ++row)
    CHECK(std::isnormal(static_cast<float>(quantized.scales.value(row))));
}

TEST_CASE("a loud column costs little where its range is shared with the weight") {
  const Tensor weight = random_weight(24, 48);
  const QuantizedSite plain =
      *quantize_linear(weight, source_rows(200, 48), WantedForms::dynamic, product)->dynamic;
  const QuantizedSite loud =
      *quantize_linear(weight, source_rows(200, 48, 3), WantedForms::dynamic, product)->dynamic;
  CHECK(loud.smoothing > 0);
  REQUIRE(loud.src_factor.size() == 48);
  CHECK(loud.src_factor[3] < 0.2 * loud.src_factor[4]);
  CHECK(loud.error < 20 * plain.error);
  const QuantizedSite fixed =
      *quantize_linear(weight, source_rows(200, 48, 3), WantedForms::fixed, product)->fixed;
  CHECK(fixed.src_scale > 0);
  CHECK(fixed.error < 40 * plain.error);
}

TEST_CASE("a static scale covers the rows, but for what clipping pays for") {
  const SourceRows source = source_rows(300, 16);
  const QuantizedSite site =
      *quantize_linear(random_weight(8, 16), source, WantedForms::fixed, product)->fixed;
  CHECK(site.clip > 0.5);
  CHECK(site.error < 1e-3);
  CHECK(site.bias_shift.size() == 8);
}

TEST_CASE("the method of calibration decides how far a static scale reaches") {
  const SourceRows source = source_rows(300, 16);
  const auto clip = [&](const Calibration& calibration) {
    return quantize_linear(random_weight(8, 16), source, WantedForms::fixed, product, 0,
                           calibration)
        ->fixed->clip;
  };
  using Method = Calibration::Method;
  CHECK(clip({.method = Method::minmax}) == 1);
  CHECK(clip({.method = Method::percentile, .percentile = 100}) == 1);
  CHECK(clip({.method = Method::percentile, .percentile = 90}) < 0.5);
  CHECK(clip({.method = Method::entropy}) > 0.2);
  CHECK(clip({.method = Method::mse}) == clip({}));
}

TEST_CASE("a source of zeros gives a layer that works") {
  SourceRows zeros{.rows = Tensor::from<float>({2, 4}, std::vector<float>(8, 0.0f)),
                   .absmax = std::vector<float>(4, 0.0f)};
  using Method = Calibration::Method;
  for (const Method method : {Method::minmax, Method::percentile, Method::mse, Method::entropy}) {
    const QuantizedSite site = *quantize_linear(random_weight(3, 4), zeros, WantedForms::fixed,
                                                product, 0, {.method = method})
                                    ->fixed;
    CHECK(std::isnormal(site.src_scale));
    CHECK(site.error == 0);
  }
}

TEST_CASE("the sampler keeps rows evenly spread, and every largest magnitude") {
  SourceSampler sampler(1000, 1);
  for (Index batch = 0; batch < 10; ++batch) {
    std::vector<float> rows;
    for (Index r = 0; r < 100; ++r)
      rows.push_back(-static_cast<float>(100 * batch + r));
    const Tensor tensor = Tensor::from<float>({100, 1}, rows);
    sampler.add({&tensor, 1});
  }
  const SourceRows taken = sampler.take(0).value();
  CHECK(taken.absmax == std::vector<float>{999});
  CHECK(taken.rows.dim(0) >= 256);
  CHECK(taken.rows.dim(0) <= 512);
  CHECK(taken.rows.value(taken.rows.dim(0) - 1) < -990);
}

TEST_CASE("a source that is not a number anywhere is refused") {
  SourceSampler sampler(600, 1);
  std::vector<float> rows(600, 1.0f);
  rows[599] = std::numeric_limits<float>::quiet_NaN();
  const Tensor tensor = Tensor::from<float>({600, 1}, rows);
  sampler.add({&tensor, 1});
  CHECK_FALSE(sampler.take(0));
  CHECK_FALSE(SourceSampler(10, 1).take(0));
}

}  // namespace
}  // namespace rtai::quant
