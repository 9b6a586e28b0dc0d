// Elementwise functions of vectors.
#pragma once

#include "runtime/base/function.h"
#include "runtime/cpu/vector.h"

namespace rtai::cpu {
namespace {

// Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
inline constexpr float kRounder = 12582912.0f;

/// coefficients[0] + coefficients[1] x + ..
template <int kCount>
Floats polynomial(const float (&coefficients)[kCount], Floats x) {
  Floats sum = all(coefficients[kCount - 1]);
#pragma GCC unroll 8
  for (int i = kCount - 2; i >= 0; --i)
    sum = fma(sum, x, all(coefficients[i]));
  return sum;
}

/// x * 2^n for the n that `rounded` = kRounder + n holds, if both are normal numbers.
inline Floats scale_by_power(Floats x, Floats rounded) {
  return from_bits(bits(x) + shift_left<23>(bits(rounded)));
}

/// 2^n for the n in [-127, 128] that kRounder + n holds; 0 and infinity at the ends.
inline Floats power_of_two(Floats rounded) {
  return from_bits(shift_left<23>(bits(rounded) + all_ints(127)));
}

/// exp(x) to 2 units in the last place; 0 below -87.7, infinity above 88.4, NaN for NaN.
inline Floats exp_vector(Floats x) {
  x = max(all(-88.0f), min(all(89.0f), x));
  const Floats rounded = fma(x, all(kExponential.log2_e), all(kRounder));
  const Floats whole = rounded - all(kRounder);
  Floats part = fma(whole, all(kExponential.minus_ln2[0]), x);
  part = fma(whole, all(kExponential.minus_ln2[1]), part);
  return polynomial(kExponential.terms, part) * power_of_two(rounded);
}

/// 2^x for x <= 0, to 2 units in the last place; below 1.2e-38 for x < -126, NaN for NaN.
inline Floats exp2_vector(Floats x) {
  x = max(all(-126.0f), x);
  const Floats rounded = x + all(kRounder);
  const Floats part = x - (rounded - all(kRounder));
  // The polynomial 1 + ... with the smallest relative error, 9.1e-8, on |part| <= 1/2.
  constexpr float kPower[6] = {
      1.0f, 6.931469776e-1f, 2.402224208e-1f, 5.550733744e-2f, 9.671513183e-3f, 1.326472877e-3f};
  return scale_by_power(polynomial(kPower, part), rounded);
}

inline Floats sigmoid_vector(Floats x) {
  return all(1.0f) / (all(1.0f) + exp_vector(zeros() - x));
}

inline Floats tanh_vector(Floats x) {  // 2 sigmoid(2x) - 1
  return fma(all(2.0f), sigmoid_vector(x + x), all(-1.0f));
}

/// As Gelu has it.
inline Floats gelu_vector(Floats x) {
  const Floats a = min(all(kGelu.end), magnitude(x));  // NaN stays
  const Floats power = polynomial(kGelu.log2_tail, a);
  const Floats rounded = power + all(kRounder);
  const Floats tail =
      scale_by_power(polynomial(kGelu.power, power - (rounded - all(kRounder))), rounded);
  return subtract_product(max(x, zeros()), a, tail);
}

inline Floats gelu_tanh_vector(Floats x) {
  const Floats inner = fma(x * x * x, all(0.044715f), x) * all(0.79788456f);
  // x / 2 * (1 + tanh(y)) = x * sigmoid(2 y)
  return x * sigmoid_vector(inner + inner);
}

inline Floats apply_vector(Function function, Floats x) {
  switch (function) {
    case Function::none:
      return x;
    case Function::gelu:
      return gelu_vector(x);
    case Function::gelu_tanh:
      return gelu_tanh_vector(x);
    case Function::relu:
      return max(x, zeros());
    case Function::tanh:
      return tanh_vector(x);
    case Function::sigmoid:
      return sigmoid_vector(x);
    case Function::silu:
      return x * sigmoid_vector(x);
  }
  return x;
}

}  // namespace
}  // namespace rtai::cpu
