// Arithmetic that must round as on the CPU, element by element. Compiled without contraction: what
// is fused says so.
#pragma once

#include "runtime/cuda/device.cuh"
#include "runtime/cuda/ops.h"

#include <cmath>
#include <type_traits>

namespace rtai::cuda::RTAI_GRID {

// Of several values step by step, so that none waits for itself.

/// sum[i] = coefficients[0] + coefficients[1] x[i] + ..
template <int kTerms, int kCount>
__device__ void polynomial(const float (&coefficients)[kTerms],
                           const float (&x)[kCount],
                           float (&sum)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    sum[i] = coefficients[kTerms - 1];
#pragma unroll
  for (int c = kTerms - 2; c >= 0; --c) {
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      sum[i] = fma_f32(sum[i], x[i], coefficients[c]);
  }
}

/// y becomes 2^y, for y in [-126, 127]. coefficients: of 2^r for r in [-1/2, 1/2].
template <int kTerms, int kCount>
__device__ void power_of_two(const float (&coefficients)[kTerms], float (&y)[kCount]) {
  float shifted[kCount];
  float power[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    shifted[i] = y[i] + kRounder;
    y[i] -= shifted[i] - kRounder;
  }
  polynomial(coefficients, y, power);
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    y[i] = bits_float(float_bits(power[i]) + (float_bits(shifted[i]) << 23));
}

/// As Gelu has it; or, in layers that multiply integers, GeluOfI8.
template <bool kIsI8, int kCount>
__device__ void gelu(float (&x)[kCount]) {
  constexpr std::conditional_t<kIsI8, GeluOfI8, Gelu> kConstants;
  float a[kCount];
  float tail[kCount];
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    a[i] = min_or_nan(fabsf(x[i]), kConstants.end);
  if constexpr (kIsI8) {
    polynomial(kConstants.tail, a, tail);
  } else {
    polynomial(kConstants.log2_tail, a, tail);
    power_of_two(kConstants.power, tail);
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i)
    x[i] = fma_f32(-a[i], tail[i], fmaxf(x[i], 0.0f));
}

/// As Exponential has it; 0 below -87.7, infinity above 88.4, NaN for NaN.
__device__ inline float exp_f32(float x) {
  constexpr Exponential kConstants;
  x = max_or_nan(min_or_nan(x, 89.0f), -88.0f);
  const float rounded = fma_f32(x, kConstants.log2_e, kRounder);
  const float whole = rounded - kRounder;
  float part = fma_f32(whole, kConstants.minus_ln2[0], x);
  part = fma_f32(whole, kConstants.minus_ln2[1], part);
  float sum = kConstants.terms[6];
#pragma unroll
  for (int i = 5; i >= 0; --i)
    sum = fma_f32(sum, part, kConstants.terms[i]);
  return sum * bits_float((float_bits(rounded) + 127u) << 23);
}
__device__ inline float sigmoid_f32(float x) {
  return divide(1.0f, 1.0f + exp_f32(0.0f - x));
}

// Out of line: a call for each element is cheaper than a copy of all functions for each.
__device__ RTAI_NOINLINE inline float apply_rare(Function function, float x) {
  switch (function) {
    case Function::none:
    case Function::gelu:
      return x;
    case Function::gelu_tanh: {
      const float inner = fma_f32(x * x * x, 0.044715f, x) * 0.79788456f;
      return x * sigmoid_f32(inner + inner);
    }
    case Function::relu:
      return x > 0.0f ? x : 0.0f;
    case Function::tanh:
      return fma_f32(2.0f, sigmoid_f32(x + x), -1.0f);
    case Function::sigmoid:
      return sigmoid_f32(x);
    case Function::silu:
      return x * sigmoid_f32(x);
  }
  return x;
}

/// To several values, which asks once what the function is.
template <bool kIsI8 = false, int kCount>
__device__ void apply(Function function, float (&x)[kCount]) {
  if (function == Function::none) return;
  if (function == Function::gelu) {
    gelu<kIsI8>(x);
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
