// Products of tiles: rows of src with rows of weight, for 8-bit and 16-bit elements alike.
//
// The bytes of a row are multiplied 32 at a time, whatever they hold: mma for s8 takes 32 elements
// and for f16 16, and fragments lie alike in registers (emulation/device.h). So this file knows
// bytes only; the type of the accumulator says which mma it is.
//
// Shared memory holds kStages blocks of 128 bytes of every row of the tile. The eight 16-byte
// chunks of a row are stored at chunk ^ (row % 8), so that the eight rows ldmatrix reads at once
// lie in different banks. While one block is multiplied the next ones are on their way.
#pragma once

#include "runtime/cuda/device.cuh"
#include "runtime/cuda/ops.h"

namespace rtai::cuda::RTAI_GRID {

/// How the warps of a block share a tile. Four warps that have a small one share the depth instead:
/// each multiplies a quarter of every 128 bytes, so that sums do not wait for each other, and the
/// quarters are added at the end.
template <LinearTile kTile>
struct Gemm {
  static constexpr TileShape kShape = tile_shape(kTile);
  static constexpr int kRows = kShape.rows;
  static constexpr int kColumns = kShape.columns;
  static constexpr int kThreads = kShape.threads;
  static constexpr int kStageBytes = (kRows + kColumns) * kRowAlignment;
  static constexpr int kStages = kShape.stages;
  static constexpr int kParts = depth_parts(kShape);
  static constexpr int kWarpsDown = kParts == 1 ? 2 : 1;
  static constexpr int kWarpsAcross = kThreads / 32 / kParts / kWarpsDown;
  static constexpr int kWarpRows = kRows / kWarpsDown;
  static constexpr int kWarpColumns = kColumns / kWarpsAcross;
  static constexpr int kM = kWarpRows / 16;    // fragments of a warp, down
  static constexpr int kN = kWarpColumns / 8;  // and across

  __device__ static int part() { return kParts == 1 ? 0 : thread_index() / 32; }
  __device__ static int warp_row() {
    return kParts == 1 ? thread_index() / 32 / kWarpsAcross * kWarpRows : 0;
  }
  __device__ static int warp_column() {
    return kParts == 1 ? thread_index() / 32 % kWarpsAcross * kWarpColumns : 0;
  }
};

/// The 16 bytes `chunk` of row `row` of a stage.
__device__ inline std::byte* chunk_of(std::byte* rows, int row, int chunk) {
  return rows + row * kRowAlignment + ((chunk ^ (row & 7)) << 4);
}

/// Starts copying a block of 128 bytes of kCount rows; rows from `left` on become zeros.
template <int kCount, int kThreads>
__device__ void copy_rows(std::byte* dst, const std::byte* src, int left, int stride) {
  const int chunk = thread_index() % 8;
#pragma unroll
  for (int i = 0; i < kCount; i += kThreads / 8) {
    const int row = i + thread_index() / 8;
    const bool valid = row < left;
    copy_async16(chunk_of(dst, row, chunk),
                 src + (valid ? static_cast<std::int64_t>(row) * stride : 0) + chunk * 16, valid);
  }
}

/// sums = rows of a with rows of b; both `row_bytes` long, a multiple of 128. The grid in front may
/// still be writing a, not b. False if there are no rows of a: known only after b is on its way, as
/// their number is in memory. meanwhile() is called when both are on their way.
template <class Shape, class Sum, class Meanwhile>
__device__ bool multiply_rows(Sum (&sums)[Shape::kM][Shape::kN][4],
                              const std::byte* a,
                              int a_rows,
                              const std::byte* b,
                              int b_rows,
                              int row_bytes,
                              Meanwhile&& meanwhile) {
  auto* shared = shared_memory<std::byte>();
  const int blocks = row_bytes / kRowAlignment;
  const int lane = thread_index() % 32;
  const int warp_row = Shape::warp_row();
  const int warp_column = Shape::warp_column();

  const auto copy_a = [&](int block, int stage) {
    if (block >= blocks) return;
    copy_rows<Shape::kRows, Shape::kThreads>(shared + stage * Shape::kStageBytes,
                                             a + block * kRowAlignment, a_rows, row_bytes);
  };
  const auto copy_b = [&](int block, int stage) {
    if (block >= blocks) return;
    copy_rows<Shape::kColumns, Shape::kThreads>(
        shared + stage * Shape::kStageBytes + Shape::kRows * kRowAlignment,
        b + block * kRowAlignment, b_rows, row_bytes);
  };

#pragma unroll
  for (int m = 0; m < Shape::kM; ++m) {
#pragma unroll
    for (int n = 0; n < Shape::kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums[m][n][i] = 0;
    }
  }
#pragma unroll 1
  for (int block = 0; block < Shape::kStages - 1; ++block)
    copy_b(block, block);
  if (a_rows <= 0) {
    commit_copies();
    wait_copies<0>();
    return false;
  }
  wait_for_grid_in_front();
#pragma unroll 1
  for (int block = 0; block < Shape::kStages - 1; ++block) {
    copy_a(block, block);
    commit_copies();  // an empty group too, so that counting groups stays simple
  }
  meanwhile();

  int stage = 0;
  int free_stage = Shape::kStages - 1;
#pragma unroll 1
  for (int block = 0; block < blocks; ++block) {
    wait_copies<Shape::kStages - 2>();
    sync_block();  // all copies of this block are there, and nobody reads the last one any more
    copy_a(block + Shape::kStages - 1, free_stage);
    copy_b(block + Shape::kStages - 1, free_stage);
    commit_copies();
    std::byte* stage_a = shared + stage * Shape::kStageBytes;
    free_stage = stage;
    stage = stage + 1 < Shape::kStages ? stage + 1 : 0;
    std::byte* stage_b = stage_a + Shape::kRows * kRowAlignment;
#pragma unroll
    for (int i = 0; i < kRowAlignment / 32 / Shape::kParts; ++i) {
      const int step = Shape::kParts == 1 ? i : Shape::part();
      std::uint32_t fragments[Shape::kM][4];
#pragma unroll
      for (int m = 0; m < Shape::kM; ++m) {
        const int row = warp_row + 16 * m + lane % 16;
        load_matrices(fragments[m], chunk_of(stage_a, row, 2 * step + lane / 16));
      }
#pragma unroll
      for (int n = 0; n < Shape::kN; n += 2) {
        std::uint32_t columns[4];
        const int row = warp_column + 8 * n + lane % 8 + lane / 16 * 8;
        load_matrices(columns, chunk_of(stage_b, row, 2 * step + lane / 8 % 2));
#pragma unroll
        for (int m = 0; m < Shape::kM; ++m) {
          multiply_add(sums[m][n], fragments[m], columns[0], columns[1]);
          multiply_add(sums[m][n + 1], fragments[m], columns[2], columns[3]);
        }
      }
    }
  }
  wait_copies<0>();
  sync_block();  // shared memory is free for what follows
  return true;
}

}  // namespace rtai::cuda::RTAI_GRID
