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

/// x Phi(x) = max(x, 0) - a Q(a) with a = |x| and Q the normal distribution's upper tail. log2 Q is
/// smooth: a polynomial of degree 5 (least largest error of a Q(a), found by weighted least
/// squares) leaves 5e-7. Goes to -0 for large a, as its leading coefficient is negative.
///
/// Of several values step by step, so that none waits for itself.
template <int kCount>
__device__ void gelu(float (&x)[kCount]) {
  constexpr float kLog2Tail[6] = {-1.00003767f,   -1.15078783f,   -0.459992439f,
                                  -0.0518273823f, 0.00708455686f, -0.000473309250f};
  float power[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    power[i] = kLog2Tail[5];
#pragma unroll
  for (int c = 4; c >= 0; --c) {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      power[i] = fma_f32(power[i], fabsf(x[i]), kLog2Tail[c]);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    power[i] = power_of_2(power[i]);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    x[i] = fma_f32(-fabsf(x[i]), power[i], fmaxf(x[i], 0.0f));
}

/// To several values, which asks once what the function is.
template <int kCount>
__device__ void apply(Function function, float (&x)[kCount]) {
  if (function == Function::none) return;
  if (function == Function::gelu) {
    gelu(x);
  } else {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      x[i] = apply_rare(function, x[i]);
  }
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
/// The nearest integers to values * factor, at most 127 in magnitude, as four bytes. kFit: none is
/// larger, as the factor is that of a scale which was found from them.
template <bool kFit>
__device__ std::uint32_t pack_integers(const float (&values)[4], float factor) {
  float scaled[4];
#pragma unroll
  for (int i = 0; i < 4; ++i)
    scaled[i] = kFit ? values[i] * factor : fmaxf(-127.0f, values[i] * factor);
  return to_s8(scaled[0], scaled[1], scaled[2], scaled[3]);
}

__device__ inline std::uint32_t pack(F16 low, F16 high) {
  return low.bits | static_cast<std::uint32_t>(high.bits) << 16;
}

}  // namespace rtai::cuda::RTAI_GRID
