// Arithmetic on numbers that came from a file: an overflow is a value, never a wrap.
#pragma once

#include <concepts>
#include <optional>

namespace rtai {

template <std::integral T>
std::optional<T> checked_add(T a, T b) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::integral T>
std::optional<T> checked_mul(T a, T b) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

/// The smallest multiple of `unit` that is >= `value`; `unit` > 0.
template <std::integral T>
std::optional<T> checked_round_up(T value, T unit) {
  const std::optional<T> sum = checked_add<T>(value, unit - 1);
  if (!sum) return std::nullopt;
  return *sum / unit * unit;
}

/// For numbers already known to be small.
template <std::integral T>
constexpr T round_up(T value, T unit) {
  return (value + unit - 1) / unit * unit;
}

template <std::integral T>
constexpr T div_up(T value, T unit) {
  return (value + unit - 1) / unit;
}

}  // namespace rtai
