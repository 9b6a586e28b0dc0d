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
        for (Index step = 0; step < steps_; step += stretch_) {
          const Stretch stretch{step, step + stretch_ < steps_ ? step + stretch_ : steps_};
          for (Index at = column; at < end; at += 32)
            multiply(tile, at, stretch, in_stretches_ ? (at - column) / 32 : 0);
        }
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

  // Two tiles of source rows that are wider than L1 are multiplied in stretches, each with all
  // pairs of a group, whose sums wait in memory meanwhile: (on a Xeon 6, k = 3072, products alone)
  // 83 % of the peak instead of 69 %. Few rows use their weights once, and wait for those.
  static constexpr Index kWholeSteps = 12;
  static constexpr Index kStretchSteps = 8;
  static constexpr Index kStretchPairs = 4;

  /// Steps [begin, end) of a block.
  struct Stretch {
    Index begin;
    Index end;
  };

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
    Index place = 0;           // of `sums_`, where the sums are when they are not in registers
    bool is_complete = false;  // nothing is added to them any more
  };

  /// All row tiles have the same height. The last one may have to begin a few rows earlier for it,
  /// whose sums are then computed twice.
  Index first_row(Index tile) const {
    const Index row = tile * tile_rows_;
    return row + tile_rows_ <= args_.rows ? row : args_.rows - tile_rows_;
  }

  void multiply(Index tile, Index column, Stretch stretch, Index place) {
    const bool two_tiles = tile + 1 < row_tiles_;
    const bool two_panels = column + 16 < args_.columns;
    if (two_tiles && two_panels) return multiply_block<2, 2>(tile, column, stretch, place);
    if (two_tiles) return multiply_block<2, 1>(tile, column, stretch, place);
    if (two_panels) return multiply_block<1, 2>(tile, column, stretch, place);
    multiply_block<1, 1>(tile, column, stretch, place);
  }

  template <Index kRowTiles, Index kPanels>
  void multiply_block(Index tile, Index column, Stretch stretch, Index place) {
    const Index row = first_row(tile);
    const Index second_row = kRowTiles == 2 ? first_row(tile + 1) - row : 16;
    const std::byte* source = product_.source(row);
    const Panels weights{product_.weight(column), panel_bytes_};

    // All rows reuse a group, so the next group is fetched meanwhile; few rows use a panel once.
    const Index distance = row_tiles_ > 2 ? group_pairs_ * 2 * panel_bytes_ : kFewRowsAhead;
    WeightsAhead ahead(weights.first + distance + stretch.begin * kPanels * 1024,
                       (stretch.end - stretch.begin) * kPanels * 1024,
                       {tile, kRowTiles, row_tiles_});
    const std::byte* last = product_.last_weights(column);
    const auto weights_of = [&](Index step) {
      return last != nullptr && step == steps_ - 1
                 ? Panels{last, 1024}
                 : Panels{weights.first + step * 1024, panel_bytes_};
    };
    const Block block{.row = row,
                      .height = kRowTiles == 2 ? second_row + tile_rows_ : tile_rows_,
                      .finished = tile * tile_rows_ - row,
                      .second_row = second_row,
                      .column = column,
                      .panels = kPanels,
                      .place = place,
                      .is_complete = stretch.end == steps_};
    ahead.fetch(kPanels * 1024);
    source += stretch.begin * 64;
    if (stretch.begin == 0) {
      add_products<kRowTiles, kPanels, First::of_block>(source, block, weights_of(stretch.begin));
    } else {
      add_products<kRowTiles, kPanels, First::of_stretch>(source, block, weights_of(stretch.begin));
    }
    begin_to_finish();
    in_tiles_ = block;
    const Index others = stretch.end - stretch.begin - 1;
    for (Index step = 1; step <= others; ++step) {
      ahead.fetch(kPanels * 1024);
      add_products<kRowTiles, kPanels, First::none>(source + step * 64, block,
                                                    weights_of(stretch.begin + step));
      finish_until(finishing_.height * step / others);
    }
    finish_until(finishing_.height);
  }

  /// What a step is the first of.
  enum class First { none, of_block, of_stretch };

  /// Adds the products of a step. The last one may read beyond a panel, up to 1 KiB: the source is
  /// zero there. If it is the first one, the sums of the block before are saved, and those of this
  /// block come back if they have begun.
  template <Index kRowTiles, Index kPanels, First kFirst>
  void add_products(const std::byte* source, const Block& block, Panels weights) {
    const Index stride = product_.source_stride();
    const Index second_row = block.second_row;
    Tiles::template load<6>(weights.first, 64);
    Tiles::template load<4>(source, stride);
    change<kFirst, 0>(block);
    add<0, 4, 6>();
    if constexpr (kPanels == 2) Tiles::template load<7>(weights.first + weights.stride, 64);
    change<kFirst, 1>(block);
    if constexpr (kPanels == 2) add<1, 4, 7>();
    if constexpr (kRowTiles == 2) Tiles::template load<5>(source + second_row * stride, stride);
    change<kFirst, 2>(block);
    if constexpr (kRowTiles == 2) add<2, 5, 6>();
    change<kFirst, 3>(block);
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

  /// From the block in the registers to `next`, one register of sums.
  template <First kFirst, int kTile>
  void change(const Block& next) {
    if constexpr (kFirst == First::none) return;
    save<kTile>();
    if constexpr (kFirst == First::of_block)
      Tiles::template zero<kTile>();
    else
      Tiles::template load<kTile>(sums_of<kTile>(next), kSumsStride);
  }

  /// Moves a register of sums to memory. Rows that both tiles hold are equal; a tile or panel that
  /// the block lacks goes where nobody looks.
  template <int kTile>
  void save() {
    Tiles::template store<kTile>(sums_of<kTile>(in_tiles_), kSumsStride);
  }

  template <int kTile>
  std::int32_t* sums_of(const Block& block) {
    const Index row = kTile < 2 ? 0 : block.second_row;
    return &sums_[block.place][row * 32 + Index{kTile % 2} * 16];
  }

  /// The block that has been saved, if all its products are added.
  void begin_to_finish() { finishing_ = in_tiles_.is_complete ? in_tiles_ : Block{}; }

  /// Makes results of the saved block's rows below `row`.
  [[gnu::noinline]] void finish_until(Index row) {
    Block& block = finishing_;
    if (row <= block.finished) return;
    const Tile part{.row = block.row + block.finished,
                    .height = row - block.finished,
                    .column = block.column,
                    .panels = block.panels};
    finisher_.finish(part, &sums_[block.place][block.finished * 32], 32, f_);
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
  bool in_stretches_ = row_tiles_ > 2 && steps_ > kWholeSteps;
  Index stretch_ = in_stretches_ ? kStretchSteps : steps_;
  Index group_pairs_ = in_stretches_                    ? kStretchPairs
                       : 2 * panel_bytes_ < kGroupBytes ? kGroupBytes / (2 * panel_bytes_)
                                                        : 1;
  Block in_tiles_;   // whose sums the registers hold
  Block finishing_;  // whose sums become results
  static constexpr Index kSumsStride = 32 * sizeof(std::int32_t);
  alignas(64) std::int32_t sums_[kStretchPairs][32 * 32];  // of each place
};

/// Runs `product` of `args` on `Tiles`.
template <class Tiles, class Product>
void multiply_in_tiles(const typename Product::Args& args, Product& product) {
  with_function<typename Product::Value>(args.function, [&](auto f) {
    AmxBlocks<Tiles, Product, decltype(f)>(args, product, f).run();
  });
}

}  // namespace
}  // namespace rtai::cpu
