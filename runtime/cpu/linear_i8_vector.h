// LinearI8 with dot products of four bytes.
#pragma once

#include "runtime/cpu/linear_tiles.h"
#include "runtime/kernels/linear_i8.h"

namespace rtai::cpu {
namespace {

/// What a sum of linear_i8 is worth.
struct I8Value {
  struct Column {
    Floats scale;
    Floats bias;
  };
  template <class AnyLanes>
  static Column column(const LinearI8::Args& args, Index at, AnyLanes lanes) {
    return {load(args.weight_scale + at, lanes),
            args.bias == nullptr ? zeros() : load(args.bias + at, lanes)};
  }
  static Floats value(const LinearI8::Args& args,
                      Index row,
                      const Column& column,
                      const std::int32_t* sums) {
    const Floats scaled = to_floats(load_ints(sums)) * all(args.src_scale[row]);
    return fma(scaled, column.scale, column.bias);
  }
};

/// Sums of a tile by `Dot`, the dot product of an instruction set:
///   kFlip: the QuantizedRows::flip of the source; kTileRows, kTilePanels;
///   Source, four bytes of a source row for all lanes; static Source source(const std::uint8_t*);
///   static Ints add(Ints sums, Source, Ints weights), weights being four bytes for each lane.
template <class Dot>
struct I8Sums : I8Value {
  static constexpr int kTileRows = Dot::kTileRows;
  static constexpr int kTilePanels = Dot::kTilePanels;

  template <int kRows, int kPanels>
  static void accumulate(const LinearI8::Args& args, Index row, Index column, std::int32_t* tile) {
    const Index groups = (args.k + 3) / 4;
    const Index panel_bytes = groups * 64;
    const std::int8_t* weight = args.weight + column / 16 * panel_bytes;
    const std::uint8_t* src = args.src + row * args.src_stride;
    Ints sums[kRows][kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      const Ints start = first_sums(args, column + 16 * p);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r)
        sums[r][p] = start;
    }
    for (Index g = 0; g < groups; ++g) {
      Ints weights[kPanels];
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        weights[p] = load_ints(weight + p * panel_bytes + g * 64);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
        const auto source = Dot::source(src + r * args.src_stride + g * 4);
#pragma GCC unroll 4
        for (int p = 0; p < kPanels; ++p)
          sums[r][p] = Dot::add(sums[r][p], source, weights[p]);
      }
    }
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        store_ints(tile + (r * kTilePanels + p) * 16, sums[r][p]);
    }
  }

  /// A flipped source is integer + 128, so its sums are 128 weight sums too high.
  static Ints first_sums(const LinearI8::Args& args, Index column) {
    if constexpr (Dot::kFlip == 0) return all_ints(0);
    const Index left = args.columns - column;
    const std::int32_t* sum = args.weight_sum + column;
    const Ints sums = left >= 16 ? load_ints(sum) : load_ints(sum, first_lanes(left));
    return all_ints(0) - shift_left<7>(sums);
  }
};

}  // namespace
}  // namespace rtai::cpu
