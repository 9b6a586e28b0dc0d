// Elementwise functions of vectors.
#pragma once

#include "runtime/base/function.h"
#include "runtime/cpu/vector.h"

namespace rtai::cpu {
namespace {

/// coefficients[0] + coefficients[1] x + ..
template <int kCount>
Floats polynomial(const float (&coefficients)[kCount], Floats x) {
  Floats sum = all(coefficients[kCount - 1]);
#pragma GCC unroll 8
  for (int i = kCount - 2; i >= 0; --i)
    sum = fma(sum, x, all(coefficients[i]));
  return sum;
}

/// 2^y for y in [-126, 127], NaN for NaN. coefficients: of 2^r for r in [-1/2, 1/2].
template <int kCount>
Floats power_of_two(const float (&coefficients)[kCount], Floats y) {
  const Floats rounded = y + all(kRounder);
  const Floats power = polynomial(coefficients, y - (rounded - all(kRounder)));
  return from_bits(bits(power) + shift_left<23>(bits(rounded)));
}

/// exp(x) to 2 units in the last place; 0 below -87.7, infinity above 88.4, NaN for NaN.
inline Floats exp_vector(Floats x) {
  x = max(all(-88.0f), min(all(89.0f), x));
  const Floats rounded = fma(x, all(kExponential.log2_e), all(kRounder));
  const Floats whole = rounded - all(kRounder);
  Floats part = fma(whole, all(kExponential.minus_ln2[0]), x);
  part = fma(whole, all(kExponential.minus_ln2[1]), part);
  // 2^n as a factor of its own: it may be 0 or infinite.
  const Floats power = from_bits(shift_left<23>(bits(rounded) + all_ints(127)));
  return polynomial(kExponential.terms, part) * power;
}

/// 2^x for x <= 0, to 2 units in the last place; below 1.2e-38 for x < -126, NaN for NaN.
inline Floats exp2_vector(Floats x) {
  // The polynomial 1 + ... with the smallest relative error, 9.1e-8.
  constexpr float kPower[6] = {
      1.0f, 6.931469776e-1f, 2.402224208e-1f, 5.550733744e-2f, 9.671513183e-3f, 1.326472877e-3f};
  return power_of_two(kPower, max(all(-126.0f), x));
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
  const Floats tail = power_of_two(kGelu.power, polynomial(kGelu.log2_tail, a));
  return subtract_product(max(x, zeros()), a, tail);
}

/// As GeluOfI8 has it.
inline Floats gelu_of_i8_vector(Floats x) {
  const Floats a = min(all(kGeluOfI8.end), magnitude(x));  // NaN stays
  return subtract_product(max(x, zeros()), a, polynomial(kGeluOfI8.tail, a));
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
