// LinearI8 with dot products of four bytes.
#pragma once

#include "runtime/cpu/dot_bytes.h"
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
  static Floats gelu(Floats x) { return gelu_of_i8_vector(x); }
};

/// Sums of a tile by `Dot`, the dot product of an instruction set:
///   kFlip: the QuantizedRows::flip of the source; kTileRows, kTilePanels;
///   Source, four bytes of a source row for all lanes; static Source source(const std::uint8_t*);
///   static Ints add(Ints sums, Source, Ints weights), weights being four bytes for each lane.
template <class Dot>
struct I8Sums : I8Value {
  static constexpr Index kTileRows = Dot::kTileRows;
  static constexpr Index kTilePanels = Dot::kTilePanels;

  template <Index kRows, Index kPanels>
  static void accumulate(const LinearI8::Args& args, Index row, Index column, std::int32_t* tile) {
    const Index groups = (args.k + 3) / 4;
    const Index panel_bytes = groups * 64;
    const std::int8_t* weight = args.weight + column / 16 * panel_bytes;
    const std::uint8_t* src = args.src + row * args.src_stride;
    auto ahead = weights_ahead<kRows, kPanels>(args, args.weight, panel_bytes, row, column);
    Ints sums[kRows][kPanels];
#pragma GCC unroll 4
    for (Index p = 0; p < kPanels; ++p) {
      const Ints start = first_sums(args, column + 16 * p);
#pragma GCC unroll 8
      for (Index r = 0; r < kRows; ++r)
        sums[r][p] = start;
    }
    add_products<Dot>(
        RowCursor<kRows, std::uint8_t>(src, args.src_stride),
        RowCursor<kPanels, std::int8_t>(weight, panel_bytes), groups,
        [&] { ahead.fetch(kPanels * 64); }, sums);
#pragma GCC unroll 8
    for (Index r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
      for (Index p = 0; p < kPanels; ++p)
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
