// The tile registers of AMX in plain C++: what runtime/cpu/amx_tiles.h does, for machines without.
//
// Written after the operation sections of the Intel SDM (LDTILECFG, TILELOADD, TILESTORED,
// TDPBSSD, TDPBUSD, TDPBF16PS).
#pragma once

#include "runtime/base/dtype.h"

#include <cmath>
#include <cstdint>
#include <cstring>

namespace rtai::test {
namespace {

struct TileRegister {
  int rows = 0;
  std::uint8_t bytes[16][64] = {};
};

struct EmulatedTiles {
  static void configure(int rows) {
    for (int tile = 0; tile < 8; ++tile)
      registers[tile] = {.rows = tile < 6 ? rows : 16};
  }

  /// A register without rows: whoever uses it afterwards, computes nothing.
  static void release() { configure(0); }

  template <int kTile>
  static void zero() {
    std::memset(registers[kTile].bytes, 0, sizeof(registers[kTile].bytes));
  }

  template <int kTile>
  static void load(const void* from, Index stride) {
    zero<kTile>();
    for (int r = 0; r < registers[kTile].rows; ++r)
      std::memcpy(registers[kTile].bytes[r], static_cast<const std::byte*>(from) + r * stride, 64);
  }

  template <int kTile>
  static void store(void* to, Index stride) {
    for (int r = 0; r < registers[kTile].rows; ++r)
      std::memcpy(static_cast<std::byte*>(to) + r * stride, registers[kTile].bytes[r], 64);
  }

  template <int kSums, int kSource, int kWeights>
  static void add_dot() {
    add_products<std::int8_t, kSums, kSource, kWeights>();
  }
  template <int kSums, int kSource, int kWeights>
  static void add_unsigned_dot() {
    add_products<std::uint8_t, kSums, kSource, kWeights>();
  }

  template <class Source, int kSums, int kSource, int kWeights>
  static void add_products() {
    for (int r = 0; r < registers[kSums].rows; ++r) {
      std::int32_t sums[16];
      std::memcpy(sums, registers[kSums].bytes[r], 64);
      for (int i = 0; i < registers[kWeights].rows; ++i) {
        for (int j = 0; j < 64; ++j) {
          sums[j / 4] += static_cast<Source>(registers[kSource].bytes[r][4 * i + j % 4]) *
                         static_cast<std::int8_t>(registers[kWeights].bytes[i][j]);
        }
      }
      std::memcpy(registers[kSums].bytes[r], sums, 64);
    }
  }

  template <int kSums, int kSource, int kWeights>
  static void add_dot_bf16() {
    for (int r = 0; r < registers[kSums].rows; ++r) {
      float sums[16];
      std::memcpy(sums, registers[kSums].bytes[r], 64);
      float apart[16][2] = {};  // products of even and odd numbers
      for (int i = 0; i < registers[kWeights].rows; ++i) {
        for (int j = 0; j < 32; ++j) {
          float& sum = apart[j / 2][j % 2];
          sum = flushed(std::fma(bf16(registers[kSource].bytes[r], 2 * i + j % 2),
                                 bf16(registers[kWeights].bytes[i], j), sum));
        }
      }
      for (int j = 0; j < 16; ++j)
        sums[j] = flushed(flushed(sums[j]) + flushed(apart[j][0] + apart[j][1]));
      std::memcpy(registers[kSums].bytes[r], sums, 64);
    }
  }

  /// Numbers too small to be normal are zero, as sources and as results.
  static float flushed(float x) {
    return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
  }
  static float bf16(const std::uint8_t* row, int i) {
    std::uint16_t bits = 0;
    std::memcpy(&bits, row + 2 * i, sizeof(bits));
    return flushed(bf16_to_f32(bits));
  }

  // NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables): registers are
  static inline thread_local TileRegister registers[8];
};

}  // namespace
}  // namespace rtai::test
