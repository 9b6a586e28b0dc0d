// The numbers of each code, computed from the formulas of ONNX's notes float8, float4 and int4.
#include "libopt/ir/small_types.h"

#include "libopt/ir/tensor.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

namespace rtai::ir {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

/// (-1)^S 2^(E - bias) (1 + M / 2^bits), or (-1)^S 2^(1 - bias) M / 2^bits where E is 0.
double by_formula(int sign, int exponent, int mantissa, int bias, int mantissa_bits) {
  const double fraction = mantissa / std::pow(2.0, mantissa_bits);
  const double magnitude = exponent == 0 ? std::pow(2.0, 1 - bias) * fraction
                                         : std::pow(2.0, exponent - bias) * (1 + fraction);
  return sign == 1 ? -magnitude : magnitude;
}

double number_of(DType dtype, int code) {
  const int sign = code / 128;
  const int low = code % 128;
  switch (dtype) {
    case DType::f8e4m3fn:
      return low == 0x7f ? kNan : by_formula(sign, low / 8, low % 8, 7, 3);
    case DType::f8e4m3fnuz:
      return code == 0x80 ? kNan : by_formula(sign, low / 8, low % 8, 8, 3);
    case DType::f8e5m2:
      if (low == 0x7c) return sign == 1 ? -kInfinity : kInfinity;
      return low > 0x7c ? kNan : by_formula(sign, low / 4, low % 4, 15, 2);
    case DType::f8e5m2fnuz:
      return code == 0x80 ? kNan : by_formula(sign, low / 4, low % 4, 16, 2);
    case DType::f8e8m0:
      return code == 255 ? kNan : std::pow(2.0, code - 127);
    case DType::f4e2m1: {
      constexpr std::array<double, 8> kNumbers = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
      const double magnitude = kNumbers[static_cast<std::size_t>(code % 8)];
      return code / 8 == 1 ? -magnitude : magnitude;
    }
    default:
      FAIL("no small float");
      return 0;
  }
}

constexpr std::array kSigned = {DType::f8e4m3fn, DType::f8e4m3fnuz, DType::f8e5m2,
                                DType::f8e5m2fnuz, DType::f4e2m1};

int codes_of(DType dtype) {
  return dtype == DType::f4e2m1 ? 16 : 256;
}

double largest(DType dtype) {
  const std::map<DType, double> numbers = {{DType::f8e4m3fn, 448},
                                           {DType::f8e4m3fnuz, 240},
                                           {DType::f8e5m2, 57344},
                                           {DType::f8e5m2fnuz, 57344},
                                           {DType::f4e2m1, 6}};
  return numbers.at(dtype);
}

/// The numbers from 0 up, with their codes.
std::map<double, int> magnitudes(DType dtype) {
  std::map<double, int> found;
  for (int code = 0; code < codes_of(dtype) / 2; ++code)
    if (const double number = number_of(dtype, code); std::isfinite(number)) found[number] = code;
  return found;
}

int encode(DType dtype, double value, bool saturate = true) {
  return to_small_float(dtype, value, {.saturate = saturate});
}

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

TEST_CASE("every code of a small float is the number of the formula, and its own code again") {
  for (const DType dtype : {DType::f8e4m3fn, DType::f8e4m3fnuz, DType::f8e5m2, DType::f8e5m2fnuz,
                            DType::f8e8m0, DType::f4e2m1}) {
    for (int code = 0; code < codes_of(dtype); ++code) {
      INFO(dtype_name(dtype) << " " << code);
      const double number = number_of(dtype, code);
      const double value = small_float_values(dtype)[static_cast<std::size_t>(code)];
      REQUIRE(same(value, number));
      if (std::isnan(number)) {
        CHECK(std::isnan(number_of(dtype, encode(dtype, value))));
      } else {
        CHECK(encode(dtype, value, false) == code);
        if (!std::isinf(number)) CHECK(encode(dtype, value) == code);
      }
    }
  }
}

TEST_CASE("largest and smallest numbers are those of the tables") {
  const auto value = [](DType dtype, int code) {
    return small_float_values(dtype)[static_cast<std::size_t>(code)];
  };
  CHECK(value(DType::f8e4m3fn, 0x7e) == 448);
  CHECK(value(DType::f8e4m3fn, 1) == 0x1p-9f);
  CHECK(value(DType::f8e4m3fnuz, 0x7f) == 240);
  CHECK(value(DType::f8e4m3fnuz, 1) == 0x1p-10f);
  CHECK(value(DType::f8e5m2, 0x7b) == 57344);
  CHECK(value(DType::f8e5m2, 1) == 0x1p-16f);
  CHECK(value(DType::f8e5m2fnuz, 0x7f) == 57344);
  CHECK(value(DType::f8e5m2fnuz, 1) == 0x1p-17f);
}

TEST_CASE("between two small floats the nearest is taken, in the middle the even code") {
  for (const DType dtype : kSigned) {
    const std::map<double, int> numbers = magnitudes(dtype);
    const int sign = codes_of(dtype) / 2;
    const bool has_one_zero = dtype == DType::f8e4m3fnuz || dtype == DType::f8e5m2fnuz;
    for (auto low = numbers.begin(), high = std::next(low); high != numbers.end(); ++low, ++high) {
      INFO(dtype_name(dtype) << " " << low->first);
      const double middle = (low->first + high->first) / 2;
      const int even = low->second % 2 == 0 ? low->second : high->second;
      CHECK(encode(dtype, middle) == even);
      CHECK(encode(dtype, std::nextafter(middle, 0)) == low->second);
      CHECK(encode(dtype, std::nextafter(middle, kInfinity)) == high->second);
      CHECK(encode(dtype, -middle) == (even == 0 && has_one_zero ? 0 : even + sign));
      CHECK(encode(dtype, -std::nextafter(middle, kInfinity)) == high->second + sign);
    }
  }
}

TEST_CASE("what is above the largest small float saturates, or is infinity or NaN") {
  for (const DType dtype : kSigned) {
    INFO(dtype_name(dtype));
    const std::map<double, int> numbers = magnitudes(dtype);
    const double top = numbers.rbegin()->first;
    const int code = numbers.rbegin()->second;
    const int sign = codes_of(dtype) / 2;
    CHECK(top == largest(dtype));
    for (const double value : {2 * top, 1e30, kInfinity}) {
      CHECK(encode(dtype, value) == code);
      CHECK(encode(dtype, -value) == code + sign);
    }
  }
  const auto beyond = [](DType dtype, double value) {
    return number_of(dtype, encode(dtype, value, false));
  };
  // Halfway to the number that would come next, ties to even.
  CHECK(beyond(DType::f8e4m3fn, 464) == 448);
  CHECK(std::isnan(beyond(DType::f8e4m3fn, std::nextafter(464, 500))));
  CHECK(beyond(DType::f8e4m3fnuz, std::nextafter(248, 0)) == 240);
  CHECK(std::isnan(beyond(DType::f8e4m3fnuz, 248)));
  CHECK(beyond(DType::f8e5m2, std::nextafter(61440, 0)) == 57344);
  CHECK(beyond(DType::f8e5m2, 61440) == kInfinity);
  CHECK(beyond(DType::f8e5m2, -1e30) == -kInfinity);
  CHECK(std::isnan(beyond(DType::f8e5m2fnuz, 61440)));
  for (const DType dtype : {DType::f8e4m3fn, DType::f8e4m3fnuz, DType::f8e5m2fnuz}) {
    CHECK(std::isnan(beyond(dtype, kInfinity)));
    CHECK(std::isnan(beyond(dtype, -kInfinity)));
  }
  CHECK(beyond(DType::f8e5m2, -kInfinity) == -kInfinity);
  CHECK(beyond(DType::f4e2m1, 1e30) == 6);  // there is nothing else
}

TEST_CASE("NaN and zeros keep their signs where the format has them") {
  CHECK(encode(DType::f8e4m3fn, kNan) == 0x7f);
  CHECK(encode(DType::f8e4m3fn, -kNan) == 0xff);
  CHECK(encode(DType::f8e4m3fnuz, kNan) == 0x80);
  CHECK(encode(DType::f8e5m2, kNan) == 0x7e);
  CHECK(encode(DType::f8e5m2fnuz, -kNan) == 0x80);
  CHECK(encode(DType::f4e2m1, kNan) == 8);
  CHECK(encode(DType::f8e4m3fn, -0.0) == 0x80);
  CHECK(encode(DType::f8e5m2, -0.0) == 0x80);
  CHECK(encode(DType::f4e2m1, -0.0) == 8);
  CHECK(encode(DType::f8e4m3fnuz, -0.0) == 0);
  CHECK(encode(DType::f8e5m2fnuz, -1e-30) == 0);
}

TEST_CASE("f8e8m0 rounds to a power of two up, down or to the nearest") {
  using Powers = Rounding::Powers;
  const auto code = [](double value, Powers powers, bool saturate = true) {
    return static_cast<int>(
        to_small_float(DType::f8e8m0, value, {.saturate = saturate, .powers = powers}));
  };
  for (int power = 0; power < 254; ++power) {
    const double low = std::pow(2.0, power - 127);
    INFO(power);
    for (const Powers powers : {Powers::up, Powers::down, Powers::nearest})
      REQUIRE(code(low, powers) == power);
    CHECK(code(std::nextafter(low, kInfinity), Powers::up) == power + 1);
    CHECK(code(std::nextafter(2 * low, 0), Powers::down) == power);
    CHECK(code(std::nextafter(1.5 * low, 0), Powers::nearest) == power);
    CHECK(code(1.5 * low, Powers::nearest) == power + 1);
  }
  CHECK(code(0x1.8p127, Powers::up) == 254);
  CHECK(code(0x1.8p127, Powers::up, false) == 255);
  CHECK(code(0x1.8p127, Powers::down, false) == 254);
  CHECK(code(0x1.4p127, Powers::nearest, false) == 254);
  CHECK(code(0x1p200, Powers::down) == 254);
  CHECK(code(kInfinity, Powers::up) == 254);
  CHECK(code(kInfinity, Powers::nearest, false) == 255);
  CHECK(code(0, Powers::up) == 0);
  CHECK(code(0, Powers::nearest, false) == 255);
  CHECK(code(0x1p-128, Powers::up) == 0);
  CHECK(code(0x1p-128, Powers::nearest, false) == 255);
  CHECK(code(kNan, Powers::up) == 255);
  CHECK(code(-1, Powers::up) == 255);
}

TEST_CASE("small integers are the low bits of the nearest whole number") {
  for (std::int64_t value = -40; value <= 40; ++value) {
    INFO(value);
    CHECK(to_small_integer(DType::u4, value) == (value + 64) % 16);
    CHECK(to_small_integer(DType::i4, value) == (value + 64 + 8) % 16 - 8);
    CHECK(to_small_integer(DType::u2, value) == (value + 64) % 4);
    CHECK(to_small_integer(DType::i2, value) == (value + 64 + 2) % 4 - 2);
    for (const DType dtype : {DType::u4, DType::i4, DType::u2, DType::i2})
      CHECK(to_small_integer(dtype, static_cast<double>(value)) == to_small_integer(dtype, value));
  }
  CHECK(to_small_integer(DType::i4, 2.5) == 2);
  CHECK(to_small_integer(DType::i4, 3.5) == 4);
  CHECK(to_small_integer(DType::i4, -0.6) == -1);
  CHECK(to_small_integer(DType::u4, 1e30) == 0);
  CHECK(to_small_integer(DType::u4, kInfinity) == 0);
  CHECK(to_small_integer(DType::i4, kNan) == 0);
}

TEST_CASE("tensors of small types convert to and from every other type") {
  const Tensor ones = Tensor::from<float>({4}, std::vector<float>{1, 0, 1, 1});
  for (int from = 0; from < kDTypeCount; ++from) {
    for (int to = 0; to < kDTypeCount; ++to) {
      INFO(dtype_name(static_cast<DType>(from)) << " to " << dtype_name(static_cast<DType>(to)));
      const Tensor result =
          ones.converted(static_cast<DType>(from)).converted(static_cast<DType>(to));
      CHECK(result.dtype() == static_cast<DType>(to));
      const bool has_zero =
          static_cast<DType>(from) != DType::f8e8m0 && static_cast<DType>(to) != DType::f8e8m0;
      CHECK(result.value(0) == 1);
      if (has_zero) CHECK(result.value(1) == 0);
    }
  }
  const Tensor far = Tensor::from<std::int64_t>({1}, std::vector<std::int64_t>{(1L << 60) + 3});
  CHECK(far.converted(DType::u4).value(0) == 3);  // no double on the way
  CHECK(far.converted(DType::i2).value(0) == -1);
  const Tensor minus = Tensor::from<float>({2}, std::vector<float>{-3, -0.5});
  CHECK(minus.converted(DType::i4).value(0) == -3);
  CHECK(minus.converted(DType::i4).converted(DType::i64).value(0) == -3);
  CHECK(minus.converted(DType::f4e2m1).converted(DType::i4).value(0) == -3);
  CHECK(minus.converted(DType::f8e5m2).converted(DType::f16).value(1) == -0.5);
}

}  // namespace
}  // namespace rtai::ir
