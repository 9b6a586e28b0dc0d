// The frame of the AVX-512 linear kernels: how the result is cut into tiles, and what happens to a
// tile of sums before it is stored. The kernels bring their sums and say what a sum is worth.
#pragma once

#include "runtime/cpu/vector_avx512.h"

namespace rtai::cpu {
namespace {

// 6 rows x 4 panels of 16 columns: 24 accumulators, 4 weight registers, 1 source register. On Zen 4
// every shape from 4 x 4 up runs at the full rate of the multipliers (docs/performance.md#gemm).
constexpr int kTileRows = 6;
constexpr int kTilePanels = 4;

/// Sums of a tile, row after row. Through memory rather than in registers: gcc 12 keeps arrays of
/// registers that more than one loop walks on the stack all the time, which costs half the speed.
struct TileSums {
  alignas(64) std::int32_t values[kTileRows][kTilePanels * 16];
};

/// Multiplies what is in `args` tile by tile.
///
/// Sums: static void accumulate<kRows, kPanels>(args, row, column, sums) fills a tile, and
/// static __m512 value(args, row, column, lanes, sums) gives 16 results before function and
/// residual.
template <class Sums, class Args>
class LinearTiles {
 public:
  explicit LinearTiles(const Args& args) : args_(args) {}

  void run() const {
    // Panels outside, rows inside: four panels stay in L1 or L2 while all rows pass by.
    long column = 0;
    for (; column + 16 * (kTilePanels - 1) < args_.columns; column += 16 * kTilePanels) {
      for_row_tiles<kTilePanels>(column);
    }
    for (; column < args_.columns; column += 16)
      for_row_tiles<1>(column);
  }

 private:
  /// Tiles of at most kTileRows that differ by at most one row: a short last tile would leave the
  /// multipliers waiting for loads.
  template <int kPanels>
  void for_row_tiles(long column) const {
    long row = 0;
    for (long tiles = (args_.rows + kTileRows - 1) / kTileRows; tiles > 0; --tiles) {
      const long height = (args_.rows - row + tiles - 1) / tiles;
      TileSums sums;
      accumulate<kPanels>(row, height, column, sums);
      finish(row, height, column, kPanels, sums);
      row += height;
    }
  }

  template <int kPanels>
  void accumulate(long row, long height, long column, TileSums& sums) const {
    switch (height) {
      case 1:
        return Sums::template accumulate<1, kPanels>(args_, row, column, sums);
      case 2:
        return Sums::template accumulate<2, kPanels>(args_, row, column, sums);
      case 3:
        return Sums::template accumulate<3, kPanels>(args_, row, column, sums);
      case 4:
        return Sums::template accumulate<4, kPanels>(args_, row, column, sums);
      case 5:
        return Sums::template accumulate<5, kPanels>(args_, row, column, sums);
      default:
        return Sums::template accumulate<6, kPanels>(args_, row, column, sums);
    }
  }

  void finish(long row, long height, long column, int panels, const TileSums& sums) const {
    switch (args_.function) {
      case Function::none:
        return finish_with(row, height, column, panels, sums, [](__m512 x) { return x; });
      case Function::gelu:
        return finish_with(row, height, column, panels, sums,
                           [](__m512 x) { return gelu_vector(x); });
      default: {
        const Function function = args_.function;
        return finish_with(row, height, column, panels, sums,
                           [function](__m512 x) { return apply_vector(function, x); });
      }
    }
  }

  template <class F>
  void finish_with(
      long row, long height, long column, int panels, const TileSums& sums, F&& f) const {
    for (long r = 0; r < height; ++r) {
      __m512 magnitudes = _mm512_setzero_ps();
      for (int p = 0; p < panels; ++p) {
        const long at = column + 16 * p;
        const __mmask16 lanes = first_lanes(args_.columns - at);
        __m512 value = f(Sums::value(args_, row + r, at, lanes, &sums.values[r][16 * p]));
        if (args_.residual != nullptr) {
          const float* residual = args_.residual + (row + r) * args_.residual_stride + at;
          value = _mm512_add_ps(value, _mm512_maskz_loadu_ps(lanes, residual));
        }
        _mm512_mask_storeu_ps(args_.dst + (row + r) * args_.dst_stride + at, lanes, value);
        magnitudes = _mm512_max_ps(magnitudes, _mm512_abs_ps(_mm512_maskz_mov_ps(lanes, value)));
      }
      if (args_.absmax == nullptr) continue;
      const float largest = _mm512_reduce_max_ps(magnitudes);
      if (largest > args_.absmax[row + r]) args_.absmax[row + r] = largest;
    }
  }

  const Args& args_;
};

}  // namespace
}  // namespace rtai::cpu
