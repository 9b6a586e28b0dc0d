// Random values for tests: the same on every machine, given by a seed.
#pragma once

#include "runtime/base/dtype.h"

#include <cstdint>
#include <span>

namespace rtai::test {

/// splitmix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195).
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  std::uint64_t bits() {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  /// Uniform in [low, high], both included.
  Index integer(Index low, Index high) {
    return low + static_cast<Index>(bits() % static_cast<std::uint64_t>(high - low + 1));
  }

  /// Uniform in [low, high).
  float real(float low, float high) {
    return low + (high - low) * static_cast<float>(bits() >> 40) * 0x1p-24f;
  }

  bool coin() { return (bits() & 1u) != 0; }

  void fill(std::span<float> values, float low, float high) {
    for (float& value : values)
      value = real(low, high);
  }

 private:
  std::uint64_t state_;
};

}  // namespace rtai::test
