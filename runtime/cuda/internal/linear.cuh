// A linear layer: products of tiles, then what becomes of the sums while they are in registers.
#pragma once

#include "runtime/cuda/internal/gemm.cuh"
#include "runtime/cuda/internal/rows_out.cuh"

namespace rtai::cuda::RTAI_GRID {

/// Which tile a block computes: blocks of columns are neighbours, so that blocks that run at the
/// same time share their rows of src.
template <class Shape>
__device__ TilePlace linear_place(const LinearArgs& args) {
  const int across = div_up(args.columns, Shape::kColumns);
  const int index = place_in_grid(args.dst.team, shared_memory<int>());
  const int row = index / across * Shape::kRows;
  const int column = index % across * Shape::kColumns;
  const int rows = *args.rows.count - row;
  return {row,
          rows < Shape::kRows ? rows : Shape::kRows,
          column,
          args.columns - column < Shape::kColumns ? args.columns - column : Shape::kColumns,
          args.columns,
          index / across,
          across};
}

/// Heads lie within a tile: head_dim is 32 or 64, and divides the columns of a tile.
template <class Shape>
__device__ void write_heads(float (&values)[Shape::kM][Shape::kN][4],
                            const Fragments& at,
                            const TilePlace& place,
                            const HeadsOut& out) {
  auto* maxima = shared_memory<std::uint32_t>();  // [rows, heads of the tile], then factors
  const int tile_heads = Shape::kColumns / out.head_dim;
  for (int i = thread_index(); i < Shape::kRows * tile_heads; i += Shape::kThreads)
    maxima[i] = 0;
  sync_block();
#pragma unroll
  for (int m = 0; m < Shape::kM; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int n = 0; n < Shape::kN; n += 4) {  // 32 columns: of one head
        std::uint32_t most = 0;
#pragma unroll
        for (int i = n; i < n + 4; ++i) {
          most = larger(most, magnitude_bits(values[m][i][2 * h]));
          most = larger(most, magnitude_bits(values[m][i][2 * h + 1]));
        }
        most = larger(most, shuffle_xor(most, 1));
        most = larger(most, shuffle_xor(most, 2));
        if (thread_index() % 4 == 0)
          atomic_max(&maxima[at.row(m, h) * tile_heads + at.column(n) / out.head_dim], most);
      }
    }
  }
  sync_block();
  for (int i = thread_index(); i < Shape::kRows * tile_heads; i += Shape::kThreads) {
    const int row = i / tile_heads;
    const int head = i % tile_heads;
    const Quantization q = dynamic_quantization(maxima[i]);
    if (row < place.rows && head * out.head_dim < place.columns) {
      out.scale[static_cast<std::int64_t>(place.row + row) * out.heads +
                place.column / out.head_dim + head] = q.scale;
    }
    maxima[i] = float_bits(q.factor);
  }
  sync_block();
  const int stride = row_stride(place.all_columns, 1);
  for_each_pair(values, at, place, [&](int row, int column, bool both, float a, float b) {
    const float factor = bits_float(maxima[row * tile_heads + column / out.head_dim]);
    std::int8_t* dst =
        out.data + static_cast<std::int64_t>(place.row + row) * stride + place.column + column;
    store_pair(dst, both, to_integer(a * factor), to_integer(b * factor));
  });
}

/// A block computes one tile. Warps lie side by side in it, two of them down; what a lane holds of
/// its warp's fragments: emulation/device.h.
template <class Shape, class Sum, class Element>
__device__ void linear(const LinearArgs& args) {
  const TilePlace place = linear_place<Shape>(args);
  if (place.rows <= 0) return;
  const int row_bytes = row_stride(args.k, sizeof(Element)) * static_cast<int>(sizeof(Element));
  Sum sums[Shape::kM][Shape::kN][4];
  multiply_rows<Shape>(
      sums, static_cast<const std::byte*>(args.src) + static_cast<std::int64_t>(place.row) * row_bytes,
      place.rows,
      static_cast<const std::byte*>(args.weight) +
          static_cast<std::int64_t>(place.column) * row_bytes,
      place.columns, row_bytes);

  const int lane = thread_index() % 32;
  const int warp = thread_index() / 32;
  const Fragments at{warp / Shape::kWarpsAcross * Shape::kWarpRows + lane / 4,
                     warp % Shape::kWarpsAcross * Shape::kWarpColumns + lane % 4 * 2};
  const int residual_stride = row_stride(args.columns, 4);
  float values[Shape::kM][Shape::kN][4];
#pragma unroll
  for (int m = 0; m < Shape::kM; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = at.row(m, h);
      const bool row_exists = row < place.rows;
      const std::int64_t global_row = place.row + row;
      const float src_scale =
          args.src_scale != nullptr && row_exists ? args.src_scale[global_row] : 1.0f;
#pragma unroll
      for (int n = 0; n < Shape::kN; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& value = values[m][n][2 * h + e];
          value = 0.0f;
          const int column = at.column(n) + e;
          if (!row_exists || column >= place.columns) continue;
          const int global_column = place.column + column;
          const float bias = args.bias != nullptr ? args.bias[global_column] : 0.0f;
          const auto sum = static_cast<float>(sums[m][n][2 * h + e]);
          value = args.weight_scale != nullptr
                      ? fma_f32(sum * src_scale, args.weight_scale[global_column], bias)
                      : sum + bias;
          value = apply(args.function, value);
          if (args.residual != nullptr)
            value += args.residual[global_row * residual_stride + global_column];
        }
      }
    }
  }
  if (args.heads.data != nullptr) return write_heads<Shape>(values, at, place, args.heads);
  write_rows<Shape::kRows>(values, at, place, args.dst, shared_memory<std::uint32_t>(),
                           Shape::kThreads);
}

}  // namespace rtai::cuda::RTAI_GRID
