// Linear layers with Hopper's instructions: one thread has tiles copied, groups of four warps
// multiply. What becomes of the sums is that of every linear layer (linear.cuh).
#pragma once

#include "runtime/cuda/internal/hopper.cuh"
#include "runtime/cuda/internal/linear.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::gpu {

struct WgmmaArgs {
  LinearArgs linear;
  TileSource src;
  TileSource weight;
};

/// A tile: 64 rows for each group of warps, all columns for every one.
template <LinearTile kTile>
struct WgmmaShape {
  static constexpr TileShape kShape = tile_shape(kTile);
  static constexpr int kRows = kShape.rows;
  static constexpr int kColumns = kShape.columns;
  static constexpr int kThreads = kRows / 64 * 128;
  static constexpr int kN = kColumns / 8;
  static constexpr int kStageBytes = (kRows + kColumns) * kRowAlignment;
  static constexpr int kStages = kShape.stages;
  static constexpr int kGroupColumns = kColumns < 128 ? kColumns : 128;  // of one instruction
  static_assert(kShape.threads == kThreads);
};

#ifdef RTAI_HAS_WGMMA

template <class Shape, class Sum, class Element>
__device__ void linear_wgmma(const WgmmaArgs& args) {
  const TilePlace place = linear_place<Shape>(args.linear);
  let_next_grid_start();
  if (place.rows <= 0) return;
  auto* stages = shared_memory<std::byte>();
  const int row_bytes =
      row_stride(args.linear.k, sizeof(Element)) * static_cast<int>(sizeof(Element));
  const int blocks = row_bytes / kRowAlignment;
  constexpr TileShape kShape = Shape::kShape;
  auto* full =
      reinterpret_cast<Barrier*>(stages + stage_bytes(kShape, stages_used(kShape, row_bytes)));
  Barrier* empty = full + Shape::kStages;
  if (thread_index() == 0) {
    for (int i = 0; i < Shape::kStages; ++i) {
      init_barrier(&full[i], 1);
      init_barrier(&empty[i], Shape::kThreads / 32);
    }
    publish_barriers();
  }
  sync_block();
  using T = Tile<Shape::kRows, Shape::kColumns, Shape::kThreads>;
  auto* tile = shared_memory<float>();
  SumSource<T, Sum, 1> source(tile, place, args.linear);
  const int lane = thread_index() % 32;

  const auto copy_weight = [&](int block) {
    const int stage = block % Shape::kStages;
    std::byte* rows = stages + stage * Shape::kStageBytes + Shape::kRows * kRowAlignment;
    arrive_and_expect(&full[stage], Shape::kStageBytes);
    copy_tile(rows, args.weight, block * kRowAlignment, place.column, &full[stage]);
  };
  const auto copy_src = [&](int block) {
    const int stage = block % Shape::kStages;
    copy_tile(stages + stage * Shape::kStageBytes, args.src, block * kRowAlignment, place.row,
              &full[stage]);
  };
  const int ahead = blocks < Shape::kStages ? blocks : Shape::kStages;
  if (thread_index() == 0) {
    for (int block = 0; block < ahead; ++block)
      copy_weight(block);
  }
  wait_for_grid_in_front();
  if (thread_index() == 0) {
    for (int block = 0; block < ahead; ++block)
      copy_src(block);
  }
  source.read_early();

  Sum sums[1][Shape::kN][4];
  const int group = thread_index() / 128;
  for (int block = 0; block < blocks; ++block) {
    const int stage = block % Shape::kStages;
    std::byte* rows = stages + stage * Shape::kStageBytes;
    wait_for_phase(&full[stage], block / Shape::kStages % 2);
    const std::uint64_t a = describe_rows(rows + group * 64 * kRowAlignment);
    begin_products();
#pragma unroll
    for (int step = 0; step < kRowAlignment / 32; ++step) {
#pragma unroll
      for (int n = 0; n < Shape::kColumns; n += Shape::kGroupColumns) {
        const std::uint64_t b = describe_rows(rows + (Shape::kRows + n) * kRowAlignment);
        auto& part = reinterpret_cast<Sum(&)[Shape::kGroupColumns / 8][4]>(sums[0][n / 8]);
        multiply_group(part, at_byte(a, 32 * step), at_byte(b, 32 * step), block > 0 || step > 0);
      }
    }
    commit_products();
    // The products before these are done: what they read may be overwritten once every warp says
    // so.
    wait_products<1>();
    if (block == 0) continue;
    const int last = block - 1;
    if (lane == 0) arrive(&empty[last % Shape::kStages]);
    if (thread_index() == 0 && last + Shape::kStages < blocks) {
      wait_for_phase(&empty[last % Shape::kStages], last / Shape::kStages % 2);
      copy_weight(last + Shape::kStages);
      copy_src(last + Shape::kStages);
    }
  }
  wait_products<0>();
  sync_block();  // shared memory is free for what follows

  put_fragments<T>(tile, sums, thread_index() / 32 * 16 + lane / 4, lane % 4 * 2);
  sync_block();
  finish_sums<T>(tile, place, args.linear, source);
}

#endif  // RTAI_HAS_WGMMA

template <class Element, LinearTile kTile>
void launch_wgmma(void (*kernel)(WgmmaArgs), const LinearArgs& args, Stream stream) {
  constexpr TileShape kShape = tile_shape(kTile);
  const int row_bytes = row_stride(args.k, sizeof(Element)) * static_cast<int>(sizeof(Element));
  WgmmaArgs made{.linear = args, .src = {}, .weight = {}};
  if (!make_tile_source(made.src, args.src, args.rows.most, row_bytes, kShape.rows) ||
      !make_tile_source(made.weight, args.weight, args.columns, row_bytes, kShape.columns)) {
    return fail_launch();
  }
  launch(kernel, linear_launch(args, row_bytes), stream, made);
}

}  // namespace rtai::cuda::gpu
