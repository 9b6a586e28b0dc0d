// The shape of linear_i8_avxvnni's tiles and how it reads its source; apart from the kernel so that
// tests can run it with another instruction.
#pragma once

#include "runtime/cpu/linear_i8_vector.h"

namespace rtai::cpu {
namespace {

struct VnniShape {
  static constexpr std::uint8_t kFlip = 0x80;
  static constexpr Index kTileRows = 6;  // 12 accumulators of 8 lanes, 2 weight registers, 1 source
  static constexpr Index kTilePanels = 1;

  static __m256i source(const std::uint8_t* four) { return _mm256_set1_epi32(four_bytes(four)); }
};

}  // namespace
}  // namespace rtai::cpu
