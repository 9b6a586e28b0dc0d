// The tile registers of AMX, as far as linear layers and attention need them.
//
// Eight registers: 0 to 3 for sums and 4, 5 for source rows, of the same number of rows; 6, 7 for
// weights, 16 rows. Every row has 64 bytes. Intel SDM volume 1, chapter 18.
#pragma once

#include "runtime/base/dtype.h"

#include <cstdint>

namespace rtai::cpu {
namespace {

/// In assembler because gcc's intrinsics take literal register numbers only.
struct AmxTiles {
  /// Also sets all registers to zero.
  static void configure(int rows) {
    // Palette 1; bytes of a row of each register from byte 16, rows from byte 48.
    alignas(64) std::uint8_t config[64] = {1};
    for (int tile = 0; tile < 8; ++tile) {
      config[16 + 2 * tile] = 64;
      config[48 + tile] = static_cast<std::uint8_t>(tile < 6 ? rows : 16);
    }
    asm volatile("ldtilecfg %0" : : "m"(config));
  }

  /// Leaves the registers empty, so that nobody has to save them.
  static void release() { asm volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
  }

  /// Row r from byte r * stride. What the same function has written there, it must have sent to
  /// memory: the compiler does not know that this reads it.
  template <int kTile>
  static void load(const void* from, Index stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile));
  }

  template <int kTile>
  static void store(void* to, Index stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
  }

  /// sums[r][j] += source[r][4 i + b] * weights[i][4 j + b] over i < 16, b < 4, all signed bytes.
  template <int kSums, int kSource, int kWeights>
  static void add_dot() {
    asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0"
                 :
                 : "i"(kSums), "i"(kSource), "i"(kWeights));
  }

  /// The same with unsigned bytes of the source.
  template <int kSums, int kSource, int kWeights>
  static void add_unsigned_dot() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0"
                 :
                 : "i"(kSums), "i"(kSource), "i"(kWeights));
  }

  /// sums[r][j] += source[r][2 i + b] * weights[i][2 j + b] over i < 16, b < 2, of bf16 in f32,
  /// even and odd ones apart until the end; what is too small to be normal is zero.
  template <int kSums, int kSource, int kWeights>
  static void add_dot_bf16() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0"
                 :
                 : "i"(kSums), "i"(kSource), "i"(kWeights));
  }
};

}  // namespace
}  // namespace rtai::cpu
