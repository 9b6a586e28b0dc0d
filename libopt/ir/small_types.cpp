#include "libopt/ir/small_types.h"

#include "runtime/base/assert.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace rtai::ir {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

/// A sign bit, exponent and mantissa; numbers below the smallest exponent are evenly spaced.
struct Format {
  DType dtype;
  int mantissa_bits;
  int bias;
  std::uint8_t sign;      // the bit
  std::uint8_t largest;   // code of the largest number
  std::uint8_t overflow;  // of what is above it: infinity, NaN, or the largest number again
  std::uint8_t nan;

  bool has_infinity() const { return overflow > largest && overflow != nan; }
  /// NaN takes the code that would be -0.
  bool has_one_zero() const { return nan == sign && overflow == nan; }
};

constexpr auto kFormats = std::to_array<Format>({
    {DType::f8e4m3fn, 3, 7, 0x80, 0x7e, 0x7f, 0x7f},
    {DType::f8e4m3fnuz, 3, 8, 0x80, 0x7f, 0x80, 0x80},
    {DType::f8e5m2, 2, 15, 0x80, 0x7b, 0x7c, 0x7e},
    {DType::f8e5m2fnuz, 2, 16, 0x80, 0x7f, 0x80, 0x80},
    {DType::f4e2m1, 1, 1, 0x08, 0x07, 0x07, 0x08},
});

const Format& format_of(DType dtype) {
  const auto* found = std::find_if(kFormats.begin(), kFormats.end(),
                                   [&](const Format& f) { return f.dtype == dtype; });
  RTAI_ASSERT(found != kFormats.end(), "a small float");
  return *found;
}

float value_of(const Format& format, int code) {
  const bool negative = (code & format.sign) != 0;
  const int magnitude = code & (format.sign - 1);
  if (magnitude > format.largest) {
    const bool infinite = format.has_infinity() && magnitude == format.overflow;
    const float special = infinite ? std::numeric_limits<float>::infinity() : kNan;
    return negative ? -special : special;
  }
  if (negative && magnitude == 0 && format.has_one_zero()) return kNan;
  const int ones = 1 << format.mantissa_bits;
  const int exponent = magnitude / ones;
  const int mantissa = magnitude % ones + (exponent > 0 ? ones : 0);
  const float value = std::ldexp(static_cast<float>(mantissa),
                                 std::max(exponent, 1) - format.bias - format.mantissa_bits);
  return negative ? -value : value;
}

std::uint8_t code_of(const Format& format, double value, bool saturate) {
  const int sign = std::signbit(value) ? format.sign : 0;
  if (std::isnan(value)) return static_cast<std::uint8_t>(format.nan | sign);
  constexpr double kBeyondAll = 0x1p64;
  const double magnitude = std::min(std::fabs(value), kBeyondAll);
  // The distance of neighbours is 2^(exponent - mantissa bits); rounding up to a power of two
  // carries into the exponent by itself.
  const int smallest = 1 - format.bias;
  const int exponent = magnitude == 0 ? smallest : std::max(std::ilogb(magnitude), smallest);
  const double steps = std::nearbyint(std::ldexp(magnitude, format.mantissa_bits - exponent));
  const int code = ((exponent - smallest) << format.mantissa_bits) + static_cast<int>(steps);
  if (code > format.largest) {
    return static_cast<std::uint8_t>((saturate ? format.largest : format.overflow) | sign);
  }
  return static_cast<std::uint8_t>(code == 0 && format.has_one_zero() ? 0 : code | sign);
}

// f8e8m0: code c is 2^(c - 127), the last one NaN.
constexpr int kPowerBias = 127;
constexpr int kLargestPower = 254;
constexpr int kPowerNan = 255;

int code_of_power(double value, const Rounding& rounding) {
  if (std::isnan(value) || value < 0) return kPowerNan;
  if (value < 0x1p-127) return rounding.saturate ? 0 : kPowerNan;
  if (std::isinf(value)) return rounding.saturate ? kLargestPower : kPowerNan;
  const int exponent = std::ilogb(value);
  const double fraction = std::ldexp(value, -exponent);  // in [1, 2)
  const bool up = (rounding.powers == Rounding::Powers::up && fraction > 1) ||
                  (rounding.powers == Rounding::Powers::nearest && fraction >= 1.5);
  const int code = exponent + kPowerBias + (up ? 1 : 0);
  if (code <= kLargestPower) return code;
  return rounding.saturate ? kLargestPower : kPowerNan;
}

std::array<float, 256> table_of(DType dtype) {
  std::array<float, 256> values{};
  for (int code = 0; code < 256; ++code) {
    float& value = values[static_cast<std::size_t>(code)];
    if (dtype == DType::f8e8m0)
      value = code == kPowerNan ? kNan : std::ldexp(1.0f, code - kPowerBias);
    else
      value = value_of(format_of(dtype), code);
  }
  return values;
}

}  // namespace

const std::array<float, 256>& small_float_values(DType dtype) {
  constexpr auto kFirst = static_cast<int>(DType::f8e4m3fn);
  constexpr auto kCount = static_cast<std::size_t>(DType::f4e2m1) - kFirst + 1;
  static const auto tables = [] {
    std::array<std::array<float, 256>, kCount> all{};
    for (std::size_t i = 0; i < kCount; ++i)
      all[i] = table_of(static_cast<DType>(kFirst + static_cast<int>(i)));
    return all;
  }();
  RTAI_ASSERT(is_small_float(dtype), "a small float");
  return tables[static_cast<std::size_t>(dtype) - kFirst];
}

std::uint8_t to_small_float(DType dtype, double value, const Rounding& rounding) {
  if (dtype == DType::f8e8m0) return static_cast<std::uint8_t>(code_of_power(value, rounding));
  return code_of(format_of(dtype), value, rounding.saturate);
}

std::int64_t to_small_integer(DType dtype, std::int64_t value) {
  const std::int64_t count = std::int64_t{1} << packed_bits(dtype);
  const std::int64_t low = value & (count - 1);
  return is_signed_small_integer(dtype) && low >= count / 2 ? low - count : low;
}

std::int64_t to_small_integer(DType dtype, double value) {
  if (!std::isfinite(value)) return 0;
  constexpr double kMultipleOfAll = 16;  // the same low bits, and a number that fits
  return to_small_integer(
      dtype, static_cast<std::int64_t>(std::fmod(std::nearbyint(value), kMultipleOfAll)));
}

}  // namespace rtai::ir
