// How far each op may be from its reference, and why. What is not listed here must be equal.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/function.h"

#include <cmath>

namespace rtai::test {

/// |value - expected| <= absolute + relative * |expected|.
struct Tolerance {
  float absolute = 0;
  float relative = 0;
};

/// Two NaNs are close, and so are two equal infinities.
inline bool is_close(float value, float expected, Tolerance tolerance) {
  if (std::isnan(expected)) return std::isnan(value);
  if (value == expected) return true;
  return std::fabs(value - expected) <=
         tolerance.absolute + tolerance.relative * std::fabs(expected);
}

inline constexpr float kEpsilon = 0x1p-23f;  // the distance from 1 to the next float

/// Elementwise functions of arguments up to the largest float, from the exact ones. (Between
/// targets they are equal.)
inline Tolerance function_tolerance(Function function) {
  switch (function) {
    case Function::none:
    case Function::relu:
      return {};
    case Function::gelu:
      return {.absolute = 6e-7f, .relative = 2 * kEpsilon};  // see Gelu
    case Function::gelu_tanh:
    case Function::silu:
      // x * sigmoid: both factors are right to a few units in the last place. An error of the
      // exponent's argument is a relative one of small results, hence the absolute part.
      return {.absolute = 2e-6f, .relative = 8 * kEpsilon};
    case Function::tanh:
      // 2 sigmoid(2x) - 1: near zero the subtraction leaves the error of 1.
      return {.absolute = 2 * kEpsilon, .relative = 4 * kEpsilon};
    case Function::sigmoid:
      // The vector exponential is right to 2 units; results below 1e-38 may become zero.
      return {.absolute = 1e-37f, .relative = 8 * kEpsilon};
  }
  return {};
}

/// gelu of linear_i8, from the exact one: see GeluOfI8.
inline constexpr Tolerance kGeluOfI8Tolerance = {.absolute = 1.34e-4f};

/// A sum of k products in float, in the same order but with or without fused multiply-add:
/// roundings add up like a random walk. `magnitude` is the sum of the products' magnitudes.
inline Tolerance dot_tolerance(Index k, float magnitude) {
  return {.absolute = 4 * kEpsilon * std::sqrt(static_cast<float>(k)) * magnitude};
}

/// An error of a score (a float sum of head_dim products of size `largest_score`) is a relative
/// error of its softmax weight; the result is an average of values up to `largest_value`.
inline Tolerance attention_tolerance(Index head_dim, float largest_score, float largest_value) {
  const float steps = 4 * std::sqrt(static_cast<float>(head_dim));
  return {.absolute = kEpsilon * (8 + steps * largest_score) * largest_value};
}

/// A sum of squares in another order, then a square root, a division and a product.
inline constexpr Tolerance kL2NormalizeTolerance = {.relative = 8 * kEpsilon};

}  // namespace rtai::test
