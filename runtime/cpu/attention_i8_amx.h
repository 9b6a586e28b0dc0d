// AttentionI8 with the products on tile registers, sixteen queries at a time: the panels of keys
// and of values are the registers' layout of weights already. What becomes of the products stays in
// vectors.
#pragma once

#include "runtime/cpu/attention_i8_vector.h"

namespace rtai::cpu {
namespace {

/// Like VectorDots, over a class of functions like AmxTiles. Registers reach beyond what they are
/// for, up to 1 KiB behind a panel and 15 rows behind the last query: products with what lies there
/// are with zeros, or go where nobody looks. Scratch has it all.
template <class Tiles>
struct TileDots {
  static constexpr Index kRows = 16;
  static constexpr bool kSignedQueries = true;

  static void begin() { Tiles::configure(static_cast<int>(kRows)); }
  static void end() { Tiles::release(); }
  /// Zeros up to whole registers.
  static constexpr Index query_stride(Index head_bytes) { return (head_bytes + 63) / 64 * 64; }

  template <bool kIsQueries>
  static void multiply(const std::uint8_t* source,
                       Index source_stride,
                       Index /*rows*/,
                       const Panels& panels,
                       std::int32_t* tile,
                       Index tile_stride) {
    asm volatile("" : : : "memory");  // what registers read is in memory from here on
    Index p = 0;
    for (; p + 4 <= panels.count; p += 4)
      multiply_panels<4, kIsQueries>(source, source_stride, panels, p, tile, tile_stride);
    for (; p + 2 <= panels.count; p += 2)
      multiply_panels<2, kIsQueries>(source, source_stride, panels, p, tile, tile_stride);
    for (; p < panels.count; ++p)
      multiply_panels<1, kIsQueries>(source, source_stride, panels, p, tile, tile_stride);
  }

 private:
  /// Registers: 0 to 3 for sums, 4 for the source, 6 and 7 in turn for panels.
  template <Index kPanels, bool kSigned>
  static void multiply_panels(const std::uint8_t* source,
                              Index source_stride,
                              const Panels& panels,
                              Index first,
                              std::int32_t* tile,
                              Index tile_stride) {
    const std::int8_t* data = panels.data + first * panels.panel_bytes;
    unroll<kPanels>([](auto p) { Tiles::template zero<decltype(p)::kIndex>(); });
    for (Index step = 0; step < (panels.groups + 15) / 16; ++step) {
      Tiles::template load<4>(source + step * 64, source_stride);
      unroll<kPanels>([&](auto p) {
        constexpr int kP = decltype(p)::kIndex;
        Tiles::template load<6 + kP % 2>(data + kP * panels.panel_bytes + step * 1024, 64);
        if constexpr (kSigned)
          Tiles::template add_dot<kP, 4, 6 + kP % 2>();
        else
          Tiles::template add_unsigned_dot<kP, 4, 6 + kP % 2>();
      });
    }
    unroll<kPanels>([&](auto p) {
      Tiles::template store<decltype(p)::kIndex>(
          tile + 16 * (first + p), tile_stride * static_cast<Index>(sizeof(std::int32_t)));
    });
  }
};

}  // namespace
}  // namespace rtai::cpu
