// The frame of the linear kernels: how the result is cut into tiles, and what happens to a tile of
// sums before it is stored. The kernels bring their sums and say what a sum is worth.
#pragma once

#include "runtime/base/function.h"
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

/// Calls body(f), f being `function` for vectors: the ones used most as code of their own.
template <class Body>
void with_function(Function function, Body&& body) {
  switch (function) {
    case Function::none:
      return body([](Floats x) { return x; });
    case Function::gelu:
      return body([](Floats x) { return gelu_vector(x); });
    default:
      return body([function](Floats x) { return apply_vector(function, x); });
  }
}

/// Turns sums into results: scales, function, residual, largest magnitudes.
///
/// Value: struct Column, what a panel's 16 columns share; static Column column(args, at, lanes);
/// static Floats value(args, row, column, sums), 16 results before function and residual.
template <class Value, class Args>
class TileFinisher {
 public:
  explicit TileFinisher(const Args& args) : args_(args) {}

  /// sums: [tile.height, stride], stride >= 16 * tile.panels, 64-byte aligned; f: the function.
  template <class F>
  void finish(const Tile& tile, const std::int32_t* sums, Index stride, F&& f) const {
    const Index width = args_.columns - tile.column < 16 * tile.panels ? args_.columns - tile.column
                                                                       : 16 * tile.panels;
    for_vectors(width, [&](Index j, auto lanes) {
      finish_panel(tile, tile.column + j, lanes, sums + j, stride, f);
    });
    if (args_.absmax == nullptr) return;
    for (Index r = tile.row; r < tile.row + tile.height; ++r)
      raise_absmax(args_.dst + r * args_.dst_stride + tile.column, width, args_.absmax[r]);
  }

 private:
  template <class AnyLanes, class F>
  void finish_panel(const Tile& tile,
                    Index at,
                    AnyLanes lanes,
                    const std::int32_t* sums,
                    Index stride,
                    F&& f) const {
    const auto column = Value::column(args_, at, lanes);
    float* dst = args_.dst + tile.row * args_.dst_stride + at;
    if (args_.residual == nullptr) {
      for (Index r = 0; r < tile.height; ++r)
        store(dst + r * args_.dst_stride, f(value(tile.row + r, column, sums + r * stride)), lanes);
      return;
    }
    const float* residual = args_.residual + tile.row * args_.residual_stride + at;
    for (Index r = 0; r < tile.height; ++r) {
      const Floats result = f(value(tile.row + r, column, sums + r * stride));
      store(dst + r * args_.dst_stride, result + load(residual + r * args_.residual_stride, lanes),
            lanes);
    }
  }

  Floats value(Index row, const typename Value::Column& column, const std::int32_t* sums) const {
    return Value::value(args_, row, column, sums);
  }

  static void raise_absmax(const float* row, Index width, float& absmax) {
    Ints largest = bits(all(absmax));
    for_vectors(width, [&](Index j, auto lanes) {
      largest = larger_magnitudes(largest, load(row + j, lanes));
    });
    absmax = largest_magnitude(largest);
  }

  const Args& args_;
};

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
  template <int kPanels>
  void for_row_tiles(Index column) const {
    const TileFinisher<Sums, Args> finisher(args_);
    Index row = 0;
    for (Index tiles = (args_.rows + Sums::kTileRows - 1) / Sums::kTileRows; tiles > 0; --tiles) {
      const Index height = (args_.rows - row + tiles - 1) / tiles;
      // Through memory rather than in registers: gcc 12 keeps arrays of registers that more than
      // one loop walks on the stack all the time, which costs half the speed.
      alignas(64) std::int32_t sums[Sums::kTileRows * Sums::kTilePanels * 16];
      accumulate<kPanels, Sums::kTileRows>(row, height, column, sums);
      with_function(args_.function, [&](auto&& f) {
        finisher.finish({row, height, column, kPanels}, sums, 16 * Sums::kTilePanels, f);
      });
      row += height;
    }
  }

  template <int kPanels, int kRows>
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
