// LinearI8 on tile registers, over a class of functions like AmxTiles, so that tests can run it on
// an emulation.
//
// A block of the result is two row tiles of up to 16 rows by two panels of 16 columns: four
// registers of sums. While a block is multiplied, the sums of the block before it are turned into
// results a few rows at a time: tiles and vectors are different units of the processor. (On a
// Xeon 6 the vector part of 32 x 32 results with GELU takes 184 ns, the tile part 124 ns for
// k = 384 and 248 ns for k = 768.)
#pragma once

#include "runtime/cpu/linear_i8_vector.h"

namespace rtai::cpu {
namespace {

template <class Tiles, class F>
class AmxBlocks {
 public:
  AmxBlocks(const LinearI8::Args& args, F f) : args_(args), f_(f), finisher_(args) {}

  void run() {
    Tiles::configure(static_cast<int>(tile_rows_));
    // Panels in groups that stay in L2, and for each group all rows: the rows of a block stay in L1
    // while the group's weights pass by in the order in which they lie in memory.
    const Index pairs = kGroupBytes / (2 * panel_bytes_);
    const Index group = pairs < 1 ? 32 : 32 * pairs;
    for (Index column = 0; column < args_.columns; column += group) {
      const Index end = column + group < args_.columns ? column + group : args_.columns;
      for (Index tile = 0; tile < row_tiles_; tile += 2) {
        for (Index at = column; at < end; at += 32)
          multiply(tile, at);
      }
    }
    save<0>();
    save<1>();
    save<2>();
    save<3>();
    begin_to_finish();
    finish_until(finishing_.height);
    Tiles::release();
  }

 private:
  static constexpr Index kGroupBytes = 200 << 10;

  struct Block {
    Index row = 0;         // of the result, where the first tile begins
    Index height = 0;      // rows of both tiles together
    Index finished = 0;    // rows that are results already
    Index second_row = 0;  // where the second tile begins, counted from the first
    Index column = 0;
    Index panels = 0;
  };

  /// All row tiles have the same height. The last one may have to begin a few rows earlier for it,
  /// whose sums are then computed twice.
  Index first_row(Index tile) const {
    const Index row = tile * tile_rows_;
    return row + tile_rows_ <= args_.rows ? row : args_.rows - tile_rows_;
  }

  void multiply(Index tile, Index column) {
    const bool two_tiles = tile + 1 < row_tiles_;
    const bool two_panels = column + 16 < args_.columns;
    if (two_tiles && two_panels) return multiply_block<2, 2>(tile, column);
    if (two_tiles) return multiply_block<2, 1>(tile, column);
    if (two_panels) return multiply_block<1, 2>(tile, column);
    multiply_block<1, 1>(tile, column);
  }

  template <int kRowTiles, int kPanels>
  void multiply_block(Index tile, Index column) {
    const Index row = first_row(tile);
    const Index second_row = kRowTiles == 2 ? first_row(tile + 1) - row : 16;
    const std::uint8_t* source = args_.src + row * args_.src_stride;
    const std::int8_t* weight = args_.weight + column / 16 * panel_bytes_;

    add_products<kRowTiles, kPanels, true>(source, second_row, weight);
    begin_to_finish();
    in_tiles_ = {.row = row,
                 .height = kRowTiles == 2 ? second_row + tile_rows_ : tile_rows_,
                 .finished = tile * tile_rows_ - row,
                 .second_row = second_row,
                 .column = column,
                 .panels = kPanels};
    for (Index step = 1; step < steps_; ++step) {
      add_products<kRowTiles, kPanels, false>(source + step * 64, second_row, weight + step * 1024);
      finish_until(finishing_.height * step / (steps_ - 1));
    }
    finish_until(finishing_.height);
  }

  /// Adds the products of 64 consecutive k. The last step may read beyond a panel, up to 1 KiB: the
  /// source is zero there. If it is the block's first step, the sums of the block before are saved.
  template <int kRowTiles, int kPanels, bool kIsFirst>
  void add_products(const std::uint8_t* source, Index second_row, const std::int8_t* weight) {
    Tiles::template load<6>(weight, 64);
    Tiles::template load<4>(source, args_.src_stride);
    if constexpr (kIsFirst) save<0>();
    Tiles::template add_dot<0, 4, 6>();
    if constexpr (kPanels == 2) Tiles::template load<7>(weight + panel_bytes_, 64);
    if constexpr (kIsFirst) save<1>();
    if constexpr (kPanels == 2) Tiles::template add_dot<1, 4, 7>();
    if constexpr (kRowTiles == 2) {
      Tiles::template load<5>(source + second_row * args_.src_stride, args_.src_stride);
    }
    if constexpr (kIsFirst) save<2>();
    if constexpr (kRowTiles == 2) Tiles::template add_dot<2, 5, 6>();
    if constexpr (kIsFirst) save<3>();
    if constexpr (kRowTiles == 2 && kPanels == 2) Tiles::template add_dot<3, 5, 7>();
  }

  /// Moves a register of sums to memory and sets it to zero. Rows that both tiles hold are equal; a
  /// tile or panel that the block lacks goes where nobody looks.
  template <int kTile>
  void save() {
    const Index row = kTile < 2 ? 0 : in_tiles_.second_row;
    Tiles::template store<kTile>(&sums_[row * 32 + kTile % 2 * 16], 32 * sizeof(std::int32_t));
    Tiles::template zero<kTile>();
  }

  void begin_to_finish() { finishing_ = in_tiles_; }

  /// Makes results of the saved block's rows below `row`.
  [[gnu::noinline]] void finish_until(Index row) {
    Block& block = finishing_;
    if (row <= block.finished) return;
    const Tile part{.row = block.row + block.finished,
                    .height = row - block.finished,
                    .column = block.column,
                    .panels = block.panels};
    finisher_.finish(part, &sums_[block.finished * 32], 32, f_);
    block.finished = row;
  }

  const LinearI8::Args& args_;
  F f_;
  TileFinisher<I8Value, LinearI8::Args> finisher_;
  Index row_tiles_ = (args_.rows + 15) / 16;
  Index tile_rows_ = (args_.rows + row_tiles_ - 1) / row_tiles_;
  Index panel_bytes_ = (args_.k + 3) / 4 * 64;
  Index steps_ = (args_.k + 63) / 64;  // of 64 k
  Block in_tiles_;                     // whose sums the registers hold
  Block finishing_;                    // whose sums `sums_` holds
  alignas(64) std::int32_t sums_[32 * 32];
};

template <class Tiles>
void linear_i8_amx_tiles(const LinearI8::Args& args) {
  with_function(args.function, [&](auto f) { AmxBlocks<Tiles, decltype(f)>(args, f).run(); });
}

}  // namespace
}  // namespace rtai::cpu
