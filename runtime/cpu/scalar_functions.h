// Elementwise functions for the reference kernels. Included by *_ref.cpp only, so that no file
// compiled for special instructions can leave a copy of them behind.
#pragma once

#include "runtime/base/function.h"

#include <cmath>

namespace rtai::cpu {

inline float apply(Function function, float x) {
  switch (function) {
    case Function::none:
      return x;
    case Function::gelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case Function::gelu_tanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
    case Function::relu:
      return x > 0.0f ? x : 0.0f;
    case Function::tanh:
      return std::tanh(x);
    case Function::sigmoid:
      return 1.0f / (1.0f + std::exp(-x));
    case Function::silu:
      return x / (1.0f + std::exp(-x));
  }
  return x;
}

/// The larger of `largest` (not negative) and |x|; NaN counts as larger than all.
inline float larger_magnitude(float largest, float x) {
  const float magnitude = std::fabs(x);
  return magnitude <= largest || std::isnan(largest) ? largest : magnitude;
}

}  // namespace rtai::cpu
