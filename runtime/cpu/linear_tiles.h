// The frame of the linear kernels: how the result is cut into tiles, and what happens to a tile of
// sums before it is stored. The kernels bring their sums and say what a sum is worth.
#pragma once

#include "runtime/base/function.h"
#include "runtime/cpu/results.h"
#include "runtime/cpu/vector_functions.h"

namespace rtai::cpu {
namespace {

/// A tile of the result: rows [row, row + height), columns from `column`, `panels` of 16.
struct Tile {
  Index row;
  Index height;
  Index column;
  Index panels;
};

/// Calls body(f), f being `function` for vectors: the ones used most as code of their own. Value:
/// as TileFinisher has it.
template <class Value, class Body>
void with_function(Function function, Body&& body) {
  switch (function) {
    case Function::none:
      return body([](Floats x) { return x; });
    case Function::gelu:
      return body([](Floats x) { return Value::gelu(x); });
    default:
      return body([function](Floats x) { return apply_vector(function, x); });
  }
}

/// Turns sums into results: scales, function, residual, largest magnitudes.
///
/// Value: struct Column, what a panel's 16 columns share; static Column column(args, at, lanes);
/// static Floats value(args, row, column, sums), 16 results before function and residual; static
/// Floats gelu(Floats).
template <class Value, class Args>
class TileFinisher {
 public:
  explicit TileFinisher(const Args& args) : args_(args) {}

  /// sums: [tile.height, stride], stride >= 16 * tile.panels, 64-byte aligned; panels: 1, 2 or 4;
  /// f: the function.
  template <class F>
  void finish(const Tile& tile, const std::int32_t* sums, Index stride, F&& f) const {
    with_results(args_, [&](auto results) {
      if (tile.column + 16 * tile.panels > args_.columns)
        return finish_cut(tile, sums, stride, f, results);
      if (tile.panels == 4) return finish_panels<4>(tile, sums, stride, f, results);
      if (tile.panels == 2) return finish_panels<2>(tile, sums, stride, f, results);
      finish_panels<1>(tile, sums, stride, f, results);
    });
  }

 private:
  /// Whole panels, whose scales and biases stay in registers.
  template <Index kPanels, class F, class Results>
  void finish_panels(const Tile& tile,
                     const std::int32_t* sums,
                     Index stride,
                     F& f,
                     const Results& results) const {
    const Args args = args_;  // a copy: what is stored might be args_, as far as the compiler knows
    typename Value::Column columns[kPanels];
    unroll<kPanels>(
        [&](auto p) { columns[p] = Value::column(args, tile.column + 16 * p, AllLanes{}); });
    const float* residual = args.residual == nullptr
                                ? nullptr
                                : args.residual + tile.row * args.residual_stride + tile.column;
    for (Index r = 0; r < tile.height; ++r, sums += stride) {
      const Index row = tile.row + r;
      Floats values[kPanels];
      unroll<kPanels>(
          [&](auto p) { values[p] = f(Value::value(args, row, columns[p], sums + 16 * p)); });
      if (residual != nullptr) {
        unroll<kPanels>([&](auto p) { values[p] = values[p] + load(residual + 16 * p); });
        residual += args.residual_stride;
      }
      unroll<kPanels>(
          [&](auto p) { results.store(row, tile.column + 16 * p, values[p], AllLanes{}); });
      if (args.absmax == nullptr) continue;
      Ints largest = all_ints(0);
      unroll<kPanels>([&](auto p) { largest = larger_magnitudes(largest, values[p]); });
      float& absmax = args.absmax[row];
      absmax = largest_magnitude(larger_magnitudes(largest, all(absmax)));
    }
  }

  /// Panels that end within a vector.
  template <class F, class Results>
  void finish_cut(const Tile& tile,
                  const std::int32_t* sums,
                  Index stride,
                  F& f,
                  const Results& results) const {
    const Index width = args_.columns - tile.column;
    for (Index r = 0; r < tile.height; ++r) {
      const Index row = tile.row + r;
      const float* residual = args_.residual == nullptr
                                  ? nullptr
                                  : args_.residual + row * args_.residual_stride + tile.column;
      Ints largest = all_ints(0);
      for_vectors(width, [&](Index j, auto lanes) {
        const auto column = Value::column(args_, tile.column + j, lanes);
        Floats result = f(Value::value(args_, row, column, sums + r * stride + j));
        if (residual != nullptr) result = result + load(residual + j, lanes);
        results.store(row, tile.column + j, result, lanes);
        largest = larger_magnitudes(largest, keep(result, lanes));
      });
      if (args_.absmax == nullptr) continue;
      float& absmax = args_.absmax[row];
      absmax = largest_magnitude(larger_magnitudes(largest, all(absmax)));
    }
  }

  const Args& args_;
};

/// Rows [first, first + count) of `all`.
struct RowShare {
  Index first;
  Index count;
  Index all;
};

/// Brings weights that are multiplied later from memory to L2, each tile of rows its share, as many
/// as it multiplies itself in the meantime. Without it memory and multipliers take turns, which is
/// 1.75 times as long for 8 rows with the weights of bert-base (Zen 4, 1 thread).
class WeightsAhead {
 public:
  /// later: as many bytes as are multiplied now. What lies beyond the weights may be fetched, too;
  /// that cannot fault.
  WeightsAhead(const void* later, Index bytes, const RowShare& rows)
      : at_(static_cast<const char*>(later) + bytes * rows.first / rows.all), rows_(rows) {}

  /// To be called for every `bytes` of the weights multiplied now.
  void fetch(Index bytes) {
    const Index share = bytes * rows_.count / rows_.all;
    for (Index line = 0; line < share; line += 64)
      _mm_prefetch(at_ + line, _MM_HINT_T1);
    at_ += share;
  }

 private:
  const char* at_;
  RowShare rows_;
};

/// What the tile of kRows rows and kPanels panels at (row, column) fetches meanwhile: as many bytes
/// as it multiplies, a fixed distance later; beyond the matrix, of args.next_weight. The same
/// distance in all matrices, so that what follows one has been fetched when it begins: the most
/// that models have in a tile, 3072 rows of 16 bytes for each panel.
template <Index kRows, Index kPanels, class Args>
WeightsAhead weights_ahead(
    const Args& args, const void* matrix, Index panel_bytes, Index row, Index column) {
  constexpr Index kDistance = kPanels * 16 * 3072;
  const Index tile_bytes = kPanels * panel_bytes;
  const Index tiles = (kDistance + tile_bytes - 1) / tile_bytes;
  const Index at = column / 16 * panel_bytes + tiles * tile_bytes;
  const Index end = (args.columns + 15) / 16 * panel_bytes;
  const bool is_beyond = at >= end && args.next_weight != nullptr;
  const auto* later =
      static_cast<const char*>(is_beyond ? args.next_weight : matrix) + (is_beyond ? at - end : at);
  return {later, tile_bytes, {row, kRows, args.rows}};
}

/// Multiplies what is in `args` tile by tile.
///
/// Sums is a Value for TileFinisher and has kTileRows, kTilePanels and
/// static void accumulate<kRows, kPanels>(args, row, column, std::int32_t* sums), which fills a
/// tile whose rows are 16 * kTilePanels apart.
template <class Sums, class Args>
class LinearTiles {
 public:
  explicit LinearTiles(const Args& args) : args_(args) {}

  void run() const {
    // Panels outside, rows inside: a tile's panels stay in L1 or L2 while all rows pass by.
    Index column = 0;
    for (; column + 16 * (Sums::kTilePanels - 1) < args_.columns; column += 16 * Sums::kTilePanels)
      for_row_tiles<Sums::kTilePanels>(column);
    for (; column < args_.columns; column += 16)
      for_row_tiles<1>(column);
  }

 private:
  /// Tiles of at most kTileRows that differ by at most one row: a short last tile would leave the
  /// multipliers waiting for loads.
  template <Index kPanels>
  void for_row_tiles(Index column) const {
    const TileFinisher<Sums, Args> finisher(args_);
    Index row = 0;
    for (Index tiles = (args_.rows + Sums::kTileRows - 1) / Sums::kTileRows; tiles > 0; --tiles) {
      const Index height = (args_.rows - row + tiles - 1) / tiles;
      // Through memory rather than in registers: gcc 12 keeps arrays of registers that more than
      // one loop walks on the stack all the time, which costs half the speed.
      alignas(64) std::int32_t sums[Sums::kTileRows * Sums::kTilePanels * 16];
      prefetch_results<kPanels>(row, height, column);
      accumulate<kPanels, Sums::kTileRows>(row, height, column, sums);
      with_function<Sums>(args_.function, [&](auto&& f) {
        finisher.finish({row, height, column, kPanels}, sums, 16 * Sums::kTilePanels, f);
      });
      row += height;
    }
  }

  /// What a tile reads and writes when it is finished comes from L2 or L3 while it is multiplied.
  template <Index kPanels>
  void prefetch_results(Index row, Index height, Index column) const {
    for (Index r = row; r < row + height; ++r) {
      unroll<kPanels>([&](auto p) {
        if (args_.residual != nullptr)
          _mm_prefetch(args_.residual + r * args_.residual_stride + column + 16 * p, _MM_HINT_T0);
        if (args_.dst != nullptr)
          __builtin_prefetch(args_.dst + r * args_.dst_stride + column + 16 * p, 1, 3);
      });
    }
  }

  template <Index kPanels, Index kRows>
  void accumulate(Index row, Index height, Index column, std::int32_t* sums) const {
    if constexpr (kRows > 1) {
      if (height < kRows) return accumulate<kPanels, kRows - 1>(row, height, column, sums);
    }
    Sums::template accumulate<kRows, kPanels>(args_, row, column, sums);
  }

  const Args& args_;
};

}  // namespace
}  // namespace rtai::cpu
