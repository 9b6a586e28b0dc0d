// Linear layers on tile registers, over a class of functions like AmxTiles, so that tests can run
// them on an emulation.
//
// A block of the result is two row tiles of up to 16 rows by two panels of 16 columns: four
// registers of sums. While a block is multiplied, the sums of the block before it are turned into
// results a few rows at a time: tiles and vectors are different units of the processor. (On a
// Xeon 6 the vector part of 32 x 32 results with GELU takes 184 ns, the tile part 124 ns for
// k = 384 and 248 ns for k = 768.)
#pragma once

#include "runtime/cpu/linear_tiles.h"

namespace rtai::cpu {
namespace {

/// Product says what is multiplied:
///   Args, and Value for TileFinisher; kParts, the rows of numbers that together are a source row;
///   const std::byte* source(row), source_stride() bytes from row to row, part_bytes() from part to
///   part;
///   const std::byte* weight(column), panel_bytes() and steps() of 1 KiB, a register, in a panel;
///   const std::byte* last_weights(column), what the last step loads instead, one panel after the
///   other in 1 KiB each; null: a panel and what lies behind it;
///   add<Tiles, kSums, kSource, kWeights>(), the products of a step.
template <class Tiles, class Product, class F>
class AmxBlocks {
 public:
  using Args = typename Product::Args;

  AmxBlocks(const Args& args, Product& product, F f)
      : args_(args), product_(product), f_(f), finisher_(args) {}

  void run() {
    Tiles::configure(static_cast<int>(tile_rows_));
    // Panels in groups that stay in L2, and for each group all rows: the rows of a block stay in L1
    // while the group's weights pass by in the order in which they lie in memory.
    const Index group = 32 * group_pairs_;
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
  static constexpr Index kFewRowsAhead = 64 << 10;

  /// Weights of up to two panels, `stride` bytes apart.
  struct Panels {
    const std::byte* first;
    Index stride;
  };

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

  template <Index kRowTiles, Index kPanels>
  void multiply_block(Index tile, Index column) {
    const Index row = first_row(tile);
    const Index second_row = kRowTiles == 2 ? first_row(tile + 1) - row : 16;
    const std::byte* source = product_.source(row);
    const Panels weights{product_.weight(column), panel_bytes_};

    // All rows reuse a group, so the next group is fetched meanwhile; few rows use a panel once.
    const Index distance = row_tiles_ > 2 ? group_pairs_ * 2 * panel_bytes_ : kFewRowsAhead;
    WeightsAhead ahead(weights.first + distance, kPanels * panel_bytes_,
                       {tile, kRowTiles, row_tiles_});
    const std::byte* last = product_.last_weights(column);
    const auto weights_of = [&](Index step) {
      return last != nullptr && step == steps_ - 1
                 ? Panels{last, 1024}
                 : Panels{weights.first + step * 1024, panel_bytes_};
    };
    ahead.fetch(kPanels * 1024);
    add_products<kRowTiles, kPanels, true>(source, second_row, weights_of(0));
    begin_to_finish();
    in_tiles_ = {.row = row,
                 .height = kRowTiles == 2 ? second_row + tile_rows_ : tile_rows_,
                 .finished = tile * tile_rows_ - row,
                 .second_row = second_row,
                 .column = column,
                 .panels = kPanels};
    for (Index step = 1; step < steps_; ++step) {
      ahead.fetch(kPanels * 1024);
      add_products<kRowTiles, kPanels, false>(source + step * 64, second_row, weights_of(step));
      finish_until(finishing_.height * step / (steps_ - 1));
    }
    finish_until(finishing_.height);
  }

  /// Adds the products of a step. The last one may read beyond a panel, up to 1 KiB: the source is
  /// zero there. If it is the block's first step, the sums of the block before are saved.
  template <Index kRowTiles, Index kPanels, bool kIsFirst>
  void add_products(const std::byte* source, Index second_row, Panels weights) {
    const Index stride = product_.source_stride();
    Tiles::template load<6>(weights.first, 64);
    Tiles::template load<4>(source, stride);
    if constexpr (kIsFirst) save<0>();
    add<0, 4, 6>();
    if constexpr (kPanels == 2) Tiles::template load<7>(weights.first + weights.stride, 64);
    if constexpr (kIsFirst) save<1>();
    if constexpr (kPanels == 2) add<1, 4, 7>();
    if constexpr (kRowTiles == 2) Tiles::template load<5>(source + second_row * stride, stride);
    if constexpr (kIsFirst) save<2>();
    if constexpr (kRowTiles == 2) add<2, 5, 6>();
    if constexpr (kIsFirst) save<3>();
    if constexpr (kRowTiles == 2 && kPanels == 2) add<3, 5, 7>();
    for (int part = 1; part < Product::kParts; ++part) {
      const std::byte* more = source + part * product_.part_bytes();
      Tiles::template load<4>(more, stride);
      add<0, 4, 6>();
      if constexpr (kPanels == 2) add<1, 4, 7>();
      if constexpr (kRowTiles == 2) {
        Tiles::template load<5>(more + second_row * stride, stride);
        add<2, 5, 6>();
        if constexpr (kPanels == 2) add<3, 5, 7>();
      }
    }
  }

  template <int kSums, int kSource, int kWeights>
  static void add() {
    Product::template add<Tiles, kSums, kSource, kWeights>();
  }

  /// Moves a register of sums to memory and sets it to zero. Rows that both tiles hold are equal; a
  /// tile or panel that the block lacks goes where nobody looks.
  template <int kTile>
  void save() {
    const Index row = kTile < 2 ? 0 : in_tiles_.second_row;
    Tiles::template store<kTile>(&sums_[row * 32 + Index{kTile % 2} * 16],
                                 32 * sizeof(std::int32_t));
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

  const Args& args_;
  Product& product_;
  F f_;
  TileFinisher<typename Product::Value, Args> finisher_;
  Index row_tiles_ = (args_.rows + 15) / 16;
  Index tile_rows_ = (args_.rows + row_tiles_ - 1) / row_tiles_;
  Index panel_bytes_ = product_.panel_bytes();
  Index steps_ = product_.steps();
  Index group_pairs_ = 2 * panel_bytes_ < kGroupBytes ? kGroupBytes / (2 * panel_bytes_) : 1;
  Block in_tiles_;   // whose sums the registers hold
  Block finishing_;  // whose sums `sums_` holds
  alignas(64) std::int32_t sums_[32 * 32];
};

/// Runs `product` of `args` on `Tiles`.
template <class Tiles, class Product>
void multiply_in_tiles(const typename Product::Args& args, Product& product) {
  with_function(args.function,
                [&](auto f) { AmxBlocks<Tiles, Product, decltype(f)>(args, product, f).run(); });
}

}  // namespace
}  // namespace rtai::cpu
