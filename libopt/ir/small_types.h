// Numbers that no C++ type holds: floats of 8 and 4 bits, integers of 4 and 2.
//
// A tensor gives each a byte: a float's code, or an integer's value.
//
// Source: ONNX 1.22, technical notes float8, float4 and int4, and the operator Cast; OCP
// Microscaling Formats (MX) 1.0, section 5.3.
#pragma once

#include "runtime/base/dtype.h"

#include <array>
#include <cstdint>

namespace rtai::ir {

/// f8e4m3fn, f8e4m3fnuz, f8e5m2, f8e5m2fnuz, f8e8m0 and f4e2m1.
constexpr bool is_small_float(DType dtype) {
  return dtype >= DType::f8e4m3fn && dtype <= DType::f4e2m1;
}
/// i4, u4, i2 and u2.
constexpr bool is_small_integer(DType dtype) {
  return dtype >= DType::i4 && dtype <= DType::u2;
}
constexpr bool is_signed_small_integer(DType dtype) {
  return dtype == DType::i4 || dtype == DType::i2;
}

/// Bits of one element in a file, where those of 4 and 2 bits lie side by side.
constexpr Index packed_bits(DType dtype) {
  if (dtype == DType::f4e2m1 || dtype == DType::i4 || dtype == DType::u4) return 4;
  if (dtype == DType::i2 || dtype == DType::u2) return 2;
  return 8 * dtype_bytes(dtype);
}

/// What becomes of real numbers that a float of 8 bits does not hold.
struct Rounding {
  enum class Powers { up, down, nearest };  // nearest: up from the middle

  bool saturate = true;        // out of range: the largest number, else infinity or NaN
  Powers powers = Powers::up;  // between two powers of two: f8e8m0, which holds nothing else
};

/// The number of each code of a small float; codes of f4e2m1 are looked at modulo 16.
const std::array<float, 256>& small_float_values(DType dtype);

/// The code of the nearest number, ties to even. f4e2m1 always saturates and takes NaN for -0, as
/// ONNX's test cases have it; f8e8m0 takes negative numbers for NaN.
std::uint8_t to_small_float(DType dtype, double value, const Rounding& rounding);

/// The number that the lowest bits of `value` are.
std::int64_t to_small_integer(DType dtype, std::int64_t value);
/// The same of the nearest whole number, ties to even; 0 for what is not finite.
std::int64_t to_small_integer(DType dtype, double value);

}  // namespace rtai::ir
