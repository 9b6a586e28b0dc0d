// Comparing what kernels give, and the values and sizes to try them with.
#pragma once

#include "tests/support/guarded.h"
#include "tests/support/tolerance.h"

#include <fmt/format.h>

#include <cstring>
#include <limits>
#include <span>
#include <string>
#include <vector>

namespace rtai::test {

inline constexpr float kLargest = std::numeric_limits<float>::max();
inline constexpr float kInfinity = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kDenormal = 1e-41f;

/// Sizes of rows: around vectors of 8 and 16 and blocks of 64, and those of models.
inline constexpr Index kRowSizes[] = {1,  2,   7,   8,   9,   15,  16,   17,   31,
                                      32, 33,  47,  48,  63,  64,  65,   72,   79,
                                      80, 127, 128, 129, 224, 384, 1000, 1152, 1536};

template <class T>
bool same_bits(std::span<const T> a, std::span<const T> b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size_bytes()) == 0;
}

template <class T>
bool same_bits(const GuardedRows<T>& a, const GuardedRows<T>& b) {
  const std::vector<T> x = a.values();
  const std::vector<T> y = b.values();
  return same_bits<T>(x, y);
}

/// The first element further from `expected` than `tolerance`; empty: none.
inline std::string first_difference(std::span<const float> values,
                                    std::span<const float> expected,
                                    Tolerance tolerance) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!is_close(values[i], expected[i], tolerance)) {
      return fmt::format("[{}] is {} instead of {}", i, values[i], expected[i]);
    }
  }
  return {};
}

}  // namespace rtai::test
