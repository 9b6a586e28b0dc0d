// Elementwise functions of vectors.
#pragma once

#include "runtime/base/function.h"
#include "runtime/cpu/vector.h"

namespace rtai::cpu {
namespace {

// Adding 1.5 * 2^23 rounds to an integer, which then stands in the low bits.
constexpr float kRounder = 12582912.0f;

/// 2^n for the n in [-127, 128] that kRounder + n holds; 0 and infinity at the ends.
inline Floats power_of_two(Floats rounded) {
  return from_bits(shift_left<23>(bits(rounded) + all_ints(127)));
}

/// exp(x) to 2 units in the last place; 0 below -87.7, infinity above 88.4, NaN for NaN.
inline Floats exp_vector(Floats x) {
  x = max(all(-88.0f), min(all(89.0f), x));
  const Floats rounded = fma(x, all(1.44269504f), all(kRounder));
  const Floats whole = rounded - all(kRounder);
  // x - whole * ln 2 in two parts: the first has few bits, so its product is exact.
  Floats part = fma(whole, all(-0.693359375f), x);
  part = fma(whole, all(2.12194440e-4f), part);
  // Taylor up to 1/5!, then a sixth term that halves the error on |part| <= ln(2) / 2.
  Floats sum = all(1.3981999e-3f);
  sum = fma(sum, part, all(8.3334519e-3f));
  sum = fma(sum, part, all(4.1665796e-2f));
  sum = fma(sum, part, all(1.6666665e-1f));
  sum = fma(sum, part, all(5.0e-1f));
  sum = fma(sum, part, all(1.0f));
  sum = fma(sum, part, all(1.0f));
  return sum * power_of_two(rounded);
}

/// 2^x for x <= 0, to 2 units in the last place; below 1.2e-38 for x < -126, NaN for NaN.
inline Floats exp2_vector(Floats x) {
  x = max(all(-126.0f), x);
  const Floats rounded = x + all(kRounder);
  const Floats part = x - (rounded - all(kRounder));
  // The polynomial 1 + ... with the smallest relative error, 9.1e-8, on |part| <= 1/2.
  Floats power = fma(all(1.326472877e-3f), part, all(9.671513183e-3f));
  power = fma(power, part, all(5.550733744e-2f));
  power = fma(power, part, all(2.402224208e-1f));
  power = fma(power, part, all(6.931469776e-1f));
  power = fma(power, part, all(1.0f));
  return from_bits(bits(power) + shift_left<23>(bits(rounded)));
}

inline Floats sigmoid_vector(Floats x) {
  return all(1.0f) / (all(1.0f) + exp_vector(zeros() - x));
}

inline Floats tanh_vector(Floats x) {  // 2 sigmoid(2x) - 1
  return fma(all(2.0f), sigmoid_vector(x + x), all(-1.0f));
}

constexpr float kGeluTable[5][16] = {
#include "runtime/cpu/gelu_table.inc"
};
constexpr float kGeluEnd = 5.4f;
constexpr float kGeluPiecesPerUnit = 15.5f / kGeluEnd;

/// max(x, 0) - d(|x|) with d in pieces of degree 4; error below 3e-7.
inline Floats gelu_vector(Floats x) {
  const Floats place = min(magnitude(x) * all(kGeluPiecesPerUnit), all(15.49f));
  const Floats rounded = place + all(kRounder);
  const Ints piece = bits(rounded);
  const Floats u = place - (rounded - all(kRounder));
  Floats d = fma(look_up(kGeluTable[4], piece), u, look_up(kGeluTable[3], piece));
  d = fma(d, u, look_up(kGeluTable[2], piece));
  d = fma(d, u, look_up(kGeluTable[1], piece));
  d = fma(d, u, look_up(kGeluTable[0], piece));
  return max(zeros(), x) - d;
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
