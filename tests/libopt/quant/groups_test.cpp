#include "libopt/quant/groups.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace rtai::quant {
namespace {

using ir::Tensor;

/// Columns that go together, as those of real activations do.
Tensor related_rows(Index rows, Index k) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (Index r = 0; r < rows; ++r) {
    float running = 0;
    for (Index i = 0; i < k; ++i)
      values.push_back(running = 0.8f * running + normal(random));
  }
  return Tensor::from<float>({rows, k}, values);
}

/// Rows whose parts are of unlike size, as the columns of trained weights are.
Tensor uneven_weight(Index n, Index k) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (Index i = 0; i < n * k; ++i)
    values.push_back(normal(random) * (1.0f + static_cast<float>(i % k / 16 % 3)));
  return Tensor::from<float>({n, k}, values);
}

double squared_error(const Tensor& matrix, const QuantizedMatrix& quantized) {
  double sum = 0;
  for (Index i = 0; i < matrix.elements(); ++i) {
    const double scale = quantized.scales.value(i / matrix.dim(1));
    sum += std::pow(matrix.value(i) - quantized.integers.value(i) * scale, 2);
  }
  return sum;
}

/// Sum of squared errors of rows times the weight transposed.
double result_error(const Tensor& rows, const Tensor& matrix, const QuantizedMatrix& quantized) {
  const Index k = matrix.dim(1);
  double sum = 0;
  for (Index r = 0; r < rows.dim(0); ++r) {
    for (Index n = 0; n < matrix.dim(0); ++n) {
      double error = 0;
      for (Index i = 0; i < k; ++i) {
        const double weight = quantized.integers.value(n * k + i) * quantized.scales.value(n);
        error += rows.value(r * k + i) * (matrix.value(n * k + i) - weight);
      }
      sum += error * error;
    }
  }
  return sum;
}

/// One scale for each row and integers in -7..7: what groups must be better than.
double plain_error(const Tensor& matrix) {
  double sum = 0;
  for (Index n = 0; n < matrix.dim(0); ++n) {
    double largest = 0;
    for (Index i = 0; i < matrix.dim(1); ++i)
      largest = std::max(largest, std::fabs(matrix.value(n * matrix.dim(1) + i)));
    for (Index i = 0; i < matrix.dim(1); ++i) {
      const double steps = matrix.value(n * matrix.dim(1) + i) * 7 / largest;
      sum += std::pow((steps - std::nearbyint(steps)) * largest / 7, 2);
    }
  }
  return sum;
}

bool fits_4_bits(const QuantizedMatrix& quantized, Index group) {
  const Index k = quantized.integers.dim(1);
  for (Index n = 0; n < quantized.integers.dim(0); ++n) {
    for (Index begin = 0; begin < k; begin += group) {
      bool fits = false;
      for (int times = 1; times <= 18; ++times) {
        bool all = true;
        for (Index i = begin; i < std::min(begin + group, k); ++i) {
          const auto integer = static_cast<int>(quantized.integers.value(n * k + i));
          all = all && integer % times == 0 && std::abs(integer / times) <= 7;
        }
        fits = fits || all;
      }
      if (!fits) return false;
    }
  }
  return true;
}

TEST_CASE("groups are integers in -7..7 times 1..18, with less error than a scale for each row") {
  const Tensor matrix = uneven_weight(20, 200);
  double coarser = plain_error(matrix);
  for (const Index group : {128, 64, 32}) {
    const QuantizedMatrix quantized = quantize_groups(matrix, group).value();
    CHECK(fits_4_bits(quantized, group));
    const double error = squared_error(matrix, quantized);
    CHECK(error < coarser);
    coarser = error;
  }
  CHECK(coarser < 0.7 * plain_error(matrix));
}

TEST_CASE("what counts more is kept better") {
  const Tensor matrix = uneven_weight(8, 64);
  std::vector<float> importance(64, 1e-3f);
  std::fill_n(importance.begin(), 8, 1.0f);
  const auto first_columns = [&](const QuantizedMatrix& quantized) {
    double sum = 0;
    for (Index n = 0; n < 8; ++n) {
      for (Index i = 0; i < 8; ++i)
        sum += std::pow(matrix.value(n * 64 + i) -
                            quantized.integers.value(n * 64 + i) * quantized.scales.value(n),
                        2);
    }
    return sum;
  };
  CHECK(first_columns(quantize_groups(matrix, 64, importance).value()) <
        0.9 * first_columns(quantize_groups(matrix, 64).value()));
}

TEST_CASE("columns rounded in turn make up for each other's errors, on rows not seen, too") {
  const Tensor matrix = uneven_weight(16, 160);
  const Tensor all = related_rows(1200, 160);
  const std::span<const float> values = all.data<float>();
  const auto half = static_cast<std::ptrdiff_t>(values.size() / 2);
  const Tensor seen =
      Tensor::from<float>({600, 160}, std::vector<float>(values.begin(), values.begin() + half));
  const Tensor fresh =
      Tensor::from<float>({600, 160}, std::vector<float>(values.begin() + half, values.end()));
  const QuantizedMatrix nearest = quantize_groups(matrix, 64).value();
  const QuantizedMatrix in_turn = quantize_groups_in_turn(matrix, 64, seen).value();
  CHECK(fits_4_bits(in_turn, 64));
  CHECK(result_error(fresh, matrix, in_turn) < 0.6 * result_error(fresh, matrix, nearest));
}

TEST_CASE("rows of zeros, of denormals and of one value are as good as any") {
  std::vector<float> values(3 * 40, 0.0f);
  std::fill_n(values.begin() + 40, 40, 1e-41f);
  std::fill_n(values.begin() + 80, 40, -2.5f);
  const Tensor matrix = Tensor::from<float>({3, 40}, values);
  const Tensor rows = related_rows(4, 40);
  for (const QuantizedMatrix& quantized :
       {quantize_groups(matrix, 32).value(), quantize_groups_in_turn(matrix, 32, rows).value()}) {
    for (Index row = 0; row < 3; ++row)
      CHECK(std::isnormal(static_cast<float>(quantized.scales.value(row))));
    CHECK(quantized.integers.value(0) == 0);
    CHECK(quantized.integers.value(40) == 0);
    CHECK(std::fabs(quantized.integers.value(80)) == 1);  // without a common factor
    CHECK(quantized.integers.value(80) * quantized.scales.value(2) == Approx(-2.5));
  }
}

TEST_CASE("a weight that is not a number is refused with its row in 4 bits, too") {
  const Tensor matrix =
      Tensor::from<float>({2, 2}, {1.0f, 2.0f, 3.0f, std::numeric_limits<float>::quiet_NaN()});
  const auto refused = quantize_groups(matrix, 64);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().code() == ErrorCode::invalid_input);
  CHECK(refused.error().message() == "row 1 holds nan");
}

}  // namespace
}  // namespace rtai::quant
