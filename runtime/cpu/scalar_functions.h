// Elementwise functions for the reference kernels: those of vector_functions.h, number by number.
// Included by *_ref.cpp only, so that no file compiled for special instructions can leave a copy of
// them behind.
#pragma once

#include "runtime/base/function.h"

#include <bit>
#include <cmath>
#include <cstdint>

namespace rtai::cpu {

/// coefficients[0] + coefficients[1] x + ..
template <int kCount>
float polynomial(const float (&coefficients)[kCount], float x) {
  float sum = coefficients[kCount - 1];
  for (int i = kCount - 2; i >= 0; --i)
    sum = std::fma(sum, x, coefficients[i]);
  return sum;
}

/// 2^y for y in [-126, 127]. coefficients: of 2^r for r in [-1/2, 1/2].
template <int kCount>
float power_of_two(const float (&coefficients)[kCount], float y) {
  const float rounded = y + kRounder;
  const float power = polynomial(coefficients, y - (rounded - kRounder));
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(power) +
                              (std::bit_cast<std::uint32_t>(rounded) << 23));
}

inline float exp_scalar(float x) {
  if (std::isnan(x)) return x;
  x = std::fmax(-88.0f, std::fmin(89.0f, x));
  const float rounded = std::fma(x, kExponential.log2_e, kRounder);
  const float whole = rounded - kRounder;
  float part = std::fma(whole, kExponential.minus_ln2[0], x);
  part = std::fma(whole, kExponential.minus_ln2[1], part);
  // 2^n as a factor of its own: it may be 0 or infinite.
  return polynomial(kExponential.terms, part) *
         std::bit_cast<float>((std::bit_cast<std::uint32_t>(rounded) + 127u) << 23);
}

inline float sigmoid_scalar(float x) {
  return 1.0f / (1.0f + exp_scalar(0.0f - x));
}

/// As Gelu has it.
inline float gelu_scalar(float x) {
  if (std::isnan(x)) return x;
  const float a = std::fmin(std::fabs(x), kGelu.end);
  const float tail = power_of_two(kGelu.power, polynomial(kGelu.log2_tail, a));
  return std::fma(-a, tail, x > 0.0f ? x : 0.0f);
}

/// As GeluOfI8 has it.
inline float gelu_of_i8_scalar(float x) {
  if (std::isnan(x)) return x;
  const float a = std::fmin(std::fabs(x), kGeluOfI8.end);
  return std::fma(-a, polynomial(kGeluOfI8.tail, a), x > 0.0f ? x : 0.0f);
}

inline float apply(Function function, float x) {
  switch (function) {
    case Function::none:
      return x;
    case Function::gelu:
      return gelu_scalar(x);
    case Function::gelu_tanh: {
      const float inner = std::fma(x * x * x, 0.044715f, x) * 0.79788456f;
      return x * sigmoid_scalar(inner + inner);
    }
    case Function::relu:
      return x > 0.0f ? x : 0.0f;
    case Function::tanh:
      return std::fma(2.0f, sigmoid_scalar(x + x), -1.0f);
    case Function::sigmoid:
      return sigmoid_scalar(x);
    case Function::silu:
      return x * sigmoid_scalar(x);
  }
  return x;
}

/// The larger of `largest` (not negative) and |x|; NaN counts as larger than all.
inline float larger_magnitude(float largest, float x) {
  const float magnitude = std::fabs(x);
  return magnitude <= largest || std::isnan(largest) ? largest : magnitude;
}

}  // namespace rtai::cpu
