#include "libopt/prune/moments.h"

#include "libopt/prune/texts.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

namespace rtai::prune {
namespace {

ir::Tensor random_rows(Index rows, Index columns, std::uint64_t seed, float offset = 0) {
  Random random(seed);
  std::vector<float> values(static_cast<std::size_t>(rows * columns));
  for (float& value : values)
    value = offset + static_cast<float>(2 * random.unit() - 1);
  return ir::Tensor::from<float>({rows, columns}, values);
}

/// Rows [begin, end).
ir::Tensor rows_of(const ir::Tensor& matrix, Index begin, Index end) {
  std::vector<Index> rows;
  for (Index r = begin; r < end; ++r)
    rows.push_back(r);
  return pick_rows(matrix, rows);
}

Covariance covariance_of(const ir::Tensor& x, const ir::Tensor& t, Index block, int threads = 1) {
  Moments moments = Moments::make(x.dim(1), t.dim(1), threads).value();
  for (Index begin = 0; begin < x.dim(0); begin += block) {
    const Index end = std::min(begin + block, x.dim(0));
    REQUIRE(moments.add(rows_of(x, begin, end), rows_of(t, begin, end)));
  }
  return std::move(moments).finish().value();
}

/// t = W x + b for each row.
ir::Tensor apply(const ir::Tensor& x, const Layer& layer) {
  std::vector<float> t;
  for (Index r = 0; r < x.dim(0); ++r) {
    for (Index n = 0; n < layer.weight.dim(0); ++n) {
      double sum = layer.bias[static_cast<std::size_t>(n)];
      for (Index k = 0; k < x.dim(1); ++k)
        sum += x.value(r * x.dim(1) + k) * layer.weight.value(n * x.dim(1) + k);
      t.push_back(static_cast<float>(sum));
    }
  }
  return ir::Tensor::from<float>({x.dim(0), layer.weight.dim(0)}, t);
}

double distance(const ir::Tensor& a, const ir::Tensor& b) {
  REQUIRE(a.dims() == b.dims());
  double most = 0;
  for (Index i = 0; i < a.elements(); ++i)
    most = std::max(most, std::fabs(a.value(i) - b.value(i)));
  return most;
}

TEST_CASE(
    "moments are what the definition says, however the rows come and however large the mean") {
  const float offset = GENERATE(0.0f, 100.0f);
  const ir::Tensor x = random_rows(301, 5, 1, offset);
  const ir::Tensor t = random_rows(301, 3, 2, -offset);
  const Covariance streamed = covariance_of(x, t, GENERATE(1, 100, 301));
  REQUIRE(streamed.rows == 301);
  for (Index i = 0; i < 5; ++i) {
    for (Index j = 0; j < 5; ++j) {
      double sum = 0, mean_i = 0, mean_j = 0;
      for (Index r = 0; r < 301; ++r) {
        mean_i += x.value(r * 5 + i) / 301;
        mean_j += x.value(r * 5 + j) / 301;
      }
      for (Index r = 0; r < 301; ++r)
        sum += (x.value(r * 5 + i) - mean_i) * (x.value(r * 5 + j) - mean_j) / 301;
      CHECK(streamed.xx.value(i * 5 + j) == Approx(sum).margin(2e-5));
      CHECK(streamed.mean_x[static_cast<std::size_t>(i)] == Approx(mean_i));
    }
  }
}

TEST_CASE("moments do not depend on the number of threads") {
  const ir::Tensor x = random_rows(200, 600, 3);
  const ir::Tensor t = random_rows(200, 7, 4);
  const Covariance one = covariance_of(x, t, 64, 1);
  const Covariance three = covariance_of(x, t, 64, 3);
  CHECK(one.xx == three.xx);
  CHECK(one.xt == three.xt);
}

TEST_CASE("least squares without a ridge finds the layer that made the targets") {
  const Layer truth{.weight = random_rows(4, 6, 5), .bias = {1, -2, 3, 0}};
  const ir::Tensor x = random_rows(500, 6, 6, 2.0f);
  const Covariance covariance = covariance_of(x, apply(x, truth), 128);
  const RidgeFit fit =
      solve_ridge(covariance, ir::Tensor::zeros(DType::f32, {4, 6}).value(), 0).value();
  CHECK(distance(fit.layer.weight, truth.weight) < 1e-3);
  for (std::size_t i = 0; i < 4; ++i)
    CHECK(fit.layer.bias[i] == Approx(truth.bias[i]).margin(5e-3));
}

TEST_CASE("a large ridge keeps the weights it pulls towards, and the bias still fits the means") {
  const Layer truth{.weight = random_rows(2, 3, 7), .bias = {5, 6}};
  const ir::Tensor x = random_rows(100, 3, 8, 1.0f);
  const ir::Tensor towards = random_rows(2, 3, 9);
  const ir::Tensor t = apply(x, truth);
  const RidgeFit fit = solve_ridge(covariance_of(x, t, 100), towards, 1e6).value();
  CHECK(distance(fit.layer.weight, towards) < 1e-4);
  const ir::Tensor fitted = apply(x, fit.layer);
  double mean = 0;
  for (Index r = 0; r < 100; ++r)
    mean += (fitted.value(2 * r) - t.value(2 * r)) / 100;
  CHECK(mean == Approx(0).margin(1e-4));
}

TEST_CASE(
    "singular statistics are solved with the ridge, and zeros alone leave the weights alone") {
  // Two equal columns, and one that never moves.
  const ir::Tensor x = ir::Tensor::from<float>({3, 3}, {1, 1, 4, 2, 2, 4, 3, 3, 4});
  const ir::Tensor t = ir::Tensor::from<float>({3, 1}, {2, 4, 6});
  const ir::Tensor zeros = ir::Tensor::zeros(DType::f32, {1, 3}).value();
  const RidgeFit fit = solve_ridge(covariance_of(x, t, 3), zeros, 1e-4).value();
  CHECK(fit.layer.weight.value(0) == Approx(1).epsilon(1e-3));
  CHECK(fit.layer.weight.value(1) == Approx(1).epsilon(1e-3));
  CHECK(fit.layer.weight.value(2) == Approx(0).margin(1e-6));
  const ir::Tensor still = ir::Tensor::zeros(DType::f32, {5, 3}).value();
  const ir::Tensor towards = random_rows(1, 3, 10);
  const RidgeFit kept =
      solve_ridge(covariance_of(still, rows_of(random_rows(9, 1, 11), 0, 5), 5), towards, 0.01)
          .value();
  CHECK(distance(kept.layer.weight, towards) < 1e-5);
}

TEST_CASE("a ridge too small for singular statistics is raised, and the fit says to what") {
  Covariance covariance = covariance_of(random_rows(9, 2, 15), random_rows(9, 1, 16), 9);
  covariance.xx = ir::Tensor::from<float>({2, 2}, {1, 1.001f, 1.001f, 1});
  const ir::Tensor zeros = ir::Tensor::zeros(DType::f32, {1, 2}).value();
  const RidgeFit fit = solve_ridge(covariance, zeros, 0).value();
  CHECK(fit.ridge > 5e-4);
  CHECK(fit.ridge < 0.1);
  CHECK(solve_ridge(covariance, zeros, 0.01).value().ridge == 0.01);
}

TEST_CASE("targets mapped through a layer give the moments of the mapped rows") {
  const ir::Tensor x = random_rows(150, 4, 12);
  const ir::Tensor t = random_rows(150, 5, 13, 3.0f);
  const Layer layer{.weight = random_rows(2, 5, 14), .bias = {7, 8}};
  const Covariance mapped = map_targets(covariance_of(x, t, 50), layer).value();
  const Covariance direct = covariance_of(x, apply(t, layer), 50);
  CHECK(distance(mapped.xt, direct.xt) < 1e-4);
  CHECK(mapped.mean_t[1] == Approx(direct.mean_t[1]));
}

TEST_CASE("no rows, and rows that are not numbers, are refused") {
  Moments empty = Moments::make(2, 0, 1).value();
  const auto none = std::move(empty).finish();
  REQUIRE_FALSE(none);
  CHECK(none.error().message() == "no tokens to take statistics of");
  Moments broken = Moments::make(2, 0, 1).value();
  REQUIRE(
      broken.add(ir::Tensor::from<float>({1, 2}, {1, std::numeric_limits<float>::quiet_NaN()})));
  const auto status = std::move(broken).finish();
  REQUIRE_FALSE(status);
  CHECK(status.error().message() == "activations hold NaN or infinity");
}

TEST_CASE("scales find the factors that were hidden in a layer") {
  const ir::Tensor x = random_rows(400, 6, 21, 0.5f);
  const Layer layer{.weight = random_rows(5, 6, 22), .bias = {1, 2, 3, 4, 5}};
  Layer hidden = layer;
  const std::vector<float> factors = {0.5f, 0.5f, 2, 2, -1, -1};
  for (Index i = 0; i < 30; ++i)
    hidden.weight.mutable_data<float>()[static_cast<std::size_t>(i)] *=
        factors[static_cast<std::size_t>(i % 6)];
  const Covariance covariance = covariance_of(x, apply(x, hidden), 64);
  for (const Index width : {1, 2}) {
    const RidgeFit fit = solve_scales(covariance, layer, width, 1e-7).value();
    CHECK(distance(fit.layer.weight, hidden.weight) < 1e-3);
    CHECK(fit.layer.bias == layer.bias);
  }
  // A wide ridge leaves the layer as it is, and so does a factor that is not to be believed.
  CHECK(distance(solve_scales(covariance, layer, 1, 1e6).value().layer.weight, layer.weight) <
        1e-4);
  Layer tiny = layer;
  for (float& value : tiny.weight.mutable_data<float>())
    value *= 0.01f;
  CHECK(solve_scales(covariance, tiny, 2, 1e-7).value().layer.weight == tiny.weight);
}

}  // namespace
}  // namespace rtai::prune
