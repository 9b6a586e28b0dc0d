// Arithmetic that must round as on the CPU, element by element. Compiled without contraction: what
// is fused says so.
#pragma once

#include "runtime/cuda/device.cuh"
#include "runtime/cuda/ops.h"

#include <cmath>

namespace rtai::cuda::RTAI_GRID {

// Out of line: a call for each element is cheaper than a copy of all functions for each.
__device__ RTAI_NOINLINE inline float apply_rare(Function function, float x) {
  switch (function) {
    case Function::none:
    case Function::gelu:
      return x;
    case Function::gelu_tanh:
      return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
    case Function::relu:
      return x > 0.0f ? x : 0.0f;
    case Function::tanh:
      return tanhf(x);
    case Function::sigmoid:
      return divide(1.0f, 1.0f + expf(-x));
    case Function::silu:
      return divide(x, 1.0f + expf(-x));
  }
  return x;
}

__device__ inline float apply(Function function, float x) {
  if (function == Function::none) return x;
  if (function == Function::gelu) return 0.5f * x * (1.0f + erff(x * 0.70710678f));
  return apply_rare(function, x);
}

/// Bits that order as magnitudes do, NaN above all.
__device__ inline std::uint32_t magnitude_bits(float x) {
  return float_bits(x) & 0x7fffffffu;
}
__device__ inline std::uint32_t larger(std::uint32_t a, std::uint32_t b) {
  return a > b ? a : b;
}

struct Quantization {
  float scale;
  float factor;
};
__device__ inline Quantization dynamic_quantization(std::uint32_t absmax_bits) {
  constexpr float kSmallestAbsmax = 0x1p-119f;  // as runtime/kernels/quantize_rows.h
  const float absmax = bits_float(absmax_bits);
  if (absmax < kSmallestAbsmax) return {1.0f, 0.0f};
  return {divide(absmax, 127.0f), divide(127.0f, absmax)};
}
__device__ inline std::int8_t to_integer(float scaled) {
  return static_cast<std::int8_t>(nearest_int(fminf(127.0f, fmaxf(-127.0f, scaled))));
}

__device__ inline std::uint32_t pack(F16 low, F16 high) {
  return low.bits | static_cast<std::uint32_t>(high.bits) << 16;
}

}  // namespace rtai::cuda::RTAI_GRID
