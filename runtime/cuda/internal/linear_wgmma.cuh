// Linear layers with Hopper's instructions: one thread has tiles copied, groups of four warps
// multiply, and every lane writes what it has (lane_columns.cuh). Tiles that the result's edge cuts
// go through shared memory, as those of mma do.
#pragma once

#include "runtime/cuda/hopper.cuh"
#include "runtime/cuda/internal/lane_columns.cuh"
#include "runtime/cuda/internal/linear.cuh"
#include "runtime/cuda/kernel.h"

#include <type_traits>

namespace rtai::cuda::RTAI_GRID {

struct WgmmaArgs {
  LinearArgs linear;
  TileSource src;
  TileSource weight;
};

/// What belongs to the columns of a tile, in shared memory.
template <int kColumns>
struct ColumnConstants {
  alignas(16) float weight_scale[kColumns];
  alignas(16) float bias[kColumns];
  alignas(16) float factor[kColumns];

  /// Before a block's barrier.
  __device__ void read(const LinearArgs& args, const TilePlace& place, int threads) {
    for (int i = thread_index(); i < kColumns; i += threads) {
      const bool exists = i < place.columns;
      const int column = place.column + i;
      weight_scale[i] = args.weight_scale != nullptr && exists ? args.weight_scale[column] : 1.0f;
      bias[i] = args.bias != nullptr && exists ? args.bias[column] : 0.0f;
      factor[i] =
          args.dst.column_factor != nullptr && exists ? args.dst.column_factor[column] : 1.0f;
    }
  }
};

/// What a layer makes of the sums that wgmma leaves in a lane: see LaneColumns.
template <class Shape, class Sum, WeightOrder kOrder>
class LaneSums {
 public:
  static constexpr int kGroups = Shape::kColumns / 64;
  static constexpr int kFours = 4;
  static constexpr bool kTogether = kOrder == WeightOrder::sixteens;
  using Group = Four<float>[kFours][2];

  __device__ LaneSums(const Sum (&sums)[Shape::kN][4],
                      const TilePlace& place,
                      const LinearArgs& args,
                      const ColumnConstants<Shape::kColumns>& constants)
      : sums_(sums), place_(place), args_(args), constants_(constants) {
#pragma unroll
    for (int h = 0; h < 2; ++h)
      src_scale_[h] = args.src_scale != nullptr ? args.src_scale[place.row + row(h)] : 1.0f;
  }

  __device__ static int row(int h) {
    return thread_index() / 32 * 16 + thread_index() % 32 / 4 + 8 * h;
  }
  __device__ static int column(int group, int q) {
    const int lane = thread_index() % 4;
    return 64 * group + (kTogether ? 16 * lane + 4 * q : 16 * q + 4 * lane);
  }

  __device__ Four<float> factor(int group, int q) const {
    return *reinterpret_cast<const Four<float>*>(constants_.factor + column(group, q));
  }

  /// x = f(sums * scales + bias) + residual
  template <bool kWhole>
  __device__ void finish(int group, Group& x) const {
    static_assert(kWhole);
    const bool adds = kOrder == WeightOrder::fours && args_.residual.exist();
    Group residual;
    if (adds) {
      for_each_four([&](int q, int h) {
        residual[q][h] = load_four<true>(args_.residual, place_.row + row(h), place_.all_columns,
                                         place_.column + column(group, q), 4);
      });
    }
    for_each_four([&](int q, int h) {
      const auto bias = *reinterpret_cast<const Four<float>*>(constants_.bias + column(group, q));
      const auto scale =
          *reinterpret_cast<const Four<float>*>(constants_.weight_scale + column(group, q));
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const auto sum = static_cast<float>(sums_[8 * group + 2 * q + i / 2][2 * h + i % 2]);
        if constexpr (std::is_same_v<Sum, std::int32_t>)
          x[q][h].values[i] = fma_f32(sum * src_scale_[h], scale.values[i], bias.values[i]);
        else
          x[q][h].values[i] = sum + bias.values[i];
      }
    });
    if (args_.function == Function::gelu)
      for_each_value([&](int q, int h, int i) { x[q][h].values[i] = gelu(x[q][h].values[i]); });
    if (adds) {
      for_each_value([&](int q, int h, int i) { x[q][h].values[i] += residual[q][h].values[i]; });
    }
  }

 private:
  template <class Use>
  __device__ static void for_each_four(Use&& use) {
#pragma unroll
    for (int q = 0; q < kFours; ++q) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
        use(q, h);
    }
  }
  template <class Use>
  __device__ static void for_each_value(Use&& use) {
    for_each_four([&](int q, int h) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        use(q, h, i);
    });
  }

  const Sum (&sums_)[Shape::kN][4];
  const TilePlace& place_;
  const LinearArgs& args_;
  const ColumnConstants<Shape::kColumns>& constants_;
  float src_scale_[2];
};

/// Integers want long stretches, floats whole sectors of four lanes.
constexpr WeightOrder weight_order(const LinearArgs& args) {
  return args.heads.data != nullptr || args.dst.i8 != nullptr ? WeightOrder::sixteens
                                                              : WeightOrder::fours;
}

/// True for what models are mostly made of: whole tiles, of which one form is wanted. Code that can
/// do all else as well would not fit the instruction cache.
template <class Shape>
__device__ bool can_write_lanes(const TilePlace& place, const LinearArgs& args) {
  const RowsOut& out = args.dst;
  const bool plain = args.function == Function::none || args.function == Function::gelu;
  const bool floats = out.i8 == nullptr;
  const bool integers =
      out.fixed_scale > 0.0f && out.f32 == nullptr && out.f16 == nullptr && !args.residual.exist();
  return place.rows == Shape::kRows && place.columns == Shape::kColumns && plain &&
         (floats || integers);
}
template <class Shape, class Sum>
__device__ void write_lanes(const Sum (&sums)[Shape::kN][4],
                            const TilePlace& place,
                            const LinearArgs& args,
                            const ColumnConstants<Shape::kColumns>& constants) {
  if (weight_order(args) == WeightOrder::fours) {
    using Source = LaneSums<Shape, Sum, WeightOrder::fours>;
    const Source source(sums, place, args, constants);
    LaneColumns<Source>(source, place).template write_floats<true>(args.dst);
    return;
  }
  using Source = LaneSums<Shape, Sum, WeightOrder::sixteens>;
  const Source source(sums, place, args, constants);
  const LaneColumns<Source> columns(source, place);
  if (args.heads.data == nullptr)
    columns.template write_integers<true>(args.dst);
  else if (args.heads.head_dim == 64)
    columns.template write_heads<true, 64>(args.heads);
  else
    columns.template write_heads<true, 32>(args.heads);
}

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
  static_assert(kShape.threads == kThreads);
};

#ifdef RTAI_HAS_WGMMA

/// Sums to the places of the tile that they belong to.
template <class T, class Sum, int kN>
__device__ void put_lanes(float* tile, const Sum (&sums)[kN][4], WeightOrder order) {
  const int row = thread_index() / 32 * 16 + thread_index() % 32 / 4;
  const int lane = thread_index() % 4;
#pragma unroll
  for (int n = 0; n < kN; ++n) {
    const int j = n % 8;
    const int column =
        n / 8 * 64 +
        (order == WeightOrder::sixteens ? 16 * lane + 2 * j : j / 2 * 16 + 4 * lane + j % 2 * 2);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      reinterpret_cast<Sum*>(tile)[(row + i / 2 * 8) * T::kPitch + column + i % 2] = sums[n][i];
  }
}

/// Stages of both operands, and who may use them when.
template <class Shape>
class Stages {
 public:
  __device__ Stages(std::byte* stages,
                    Barrier* barriers,
                    const WgmmaArgs& args,
                    const TilePlace& place)
      : stages_(stages),
        full_(barriers),
        empty_(barriers + Shape::kStages),
        args_(args),
        place_(place) {}

  /// By one thread, before the block's barrier.
  __device__ void init() {
    for (int i = 0; i < Shape::kStages; ++i) {
      init_barrier(&full_[i], 1);
      init_barrier(&empty_[i], Shape::kThreads / 32);
    }
    publish_barriers();
  }

  __device__ std::byte* src(int block) const {
    return stages_ + block % Shape::kStages * Shape::kStageBytes;
  }
  __device__ std::byte* weight(int block) const {
    return src(block) + Shape::kRows * kRowAlignment;
  }

  // By one thread. The copy of weights announces all bytes of the stage.
  __device__ void copy_weight(int block) const {
    Barrier* full = &full_[block % Shape::kStages];
    arrive_and_expect(full, Shape::kStageBytes);
    const int apart = weight_order(args_.linear) == WeightOrder::sixteens ? 64 : 16;
    RTAI_GRID::copy_weight(weight(block), args_.weight, block * kRowAlignment,
                           place_.column / apart, full);
  }
  __device__ void copy_src(int block) const {
    RTAI_GRID::copy_src(src(block), args_.src, block * kRowAlignment, place_.row,
                        &full_[block % Shape::kStages]);
  }

  __device__ void wait_until_full(int block) const {
    wait_for_phase(&full_[block % Shape::kStages], block / Shape::kStages % 2);
  }
  /// By one lane of every warp, when the warp has read what the stage held.
  __device__ void release(int block) const { arrive(&empty_[block % Shape::kStages]); }
  __device__ void wait_until_empty(int block) const {
    wait_for_phase(&empty_[block % Shape::kStages], block / Shape::kStages % 2);
  }

 private:
  std::byte* stages_;
  Barrier* full_;
  Barrier* empty_;
  const WgmmaArgs& args_;
  const TilePlace& place_;
};

template <class Shape, class Sum, class Element>
__device__ void linear_wgmma(const WgmmaArgs& args) {
  const TilePlace place = linear_place<Shape>(args.linear);
  let_next_grid_start();
  if (place.rows <= 0) return;
  const int row_bytes =
      row_stride(args.linear.k, sizeof(Element)) * static_cast<int>(sizeof(Element));
  const int blocks = row_bytes / kRowAlignment;
  auto* shared = shared_memory<std::byte>();
  constexpr TileShape kShape = Shape::kShape;
  std::byte* behind = shared + stage_bytes(kShape, stages_used(kShape, row_bytes));
  auto& constants = *reinterpret_cast<ColumnConstants<Shape::kColumns>*>(behind + kBarrierBytes);
  Stages<Shape> stages(shared, reinterpret_cast<Barrier*>(behind), args, place);
  if (thread_index() == 0) stages.init();
  constants.read(args.linear, place, Shape::kThreads);
  sync_block();

  const int ahead = blocks < Shape::kStages ? blocks : Shape::kStages;
  if (thread_index() == 0) {
    for (int block = 0; block < ahead; ++block)
      stages.copy_weight(block);
  }
  wait_for_grid_in_front();
  if (thread_index() == 0) {
    for (int block = 0; block < ahead; ++block)
      stages.copy_src(block);
  }

  Sum sums[Shape::kN][4];
  const int group = thread_index() / 128;
  for (int block = 0; block < blocks; ++block) {
    stages.wait_until_full(block);
    const std::uint64_t a = describe_rows(stages.src(block) + group * 64 * kRowAlignment);
    const std::uint64_t b = describe_rows(stages.weight(block));
    begin_products();
#pragma unroll
    for (int step = 0; step < kRowAlignment / 32; ++step)
      multiply_group(sums, at_byte(a, 32 * step), at_byte(b, 32 * step), block > 0 || step > 0);
    commit_products();
    // The products before these are done: what they read may be overwritten once every warp says
    // so.
    wait_products<1>();
    if (block == 0) continue;
    const int last = block - 1;
    if (thread_index() % 32 == 0) stages.release(last);
    if (thread_index() == 0 && last + Shape::kStages < blocks) {
      stages.wait_until_empty(last);
      stages.copy_weight(last + Shape::kStages);
      stages.copy_src(last + Shape::kStages);
    }
  }
  wait_products<0>();
  settle(sums);

  if (can_write_lanes<Shape>(place, args.linear)) {
    write_lanes<Shape>(sums, place, args.linear, constants);
    if (args.linear.heads.data == nullptr) clear_padding(args.linear.dst, place, Shape::kThreads);
    return;
  }
  sync_block();  // shared memory is free for what follows
  using T = Tile<Shape::kRows, Shape::kColumns, Shape::kThreads>;
  auto* tile = shared_memory<float>();
  put_lanes<T>(tile, sums, weight_order(args.linear));
  sync_block();
  finish_sums<T>(tile, place, args.linear, SumSource<T, Sum, 1>(tile, place, args.linear));
}

#endif  // RTAI_HAS_WGMMA

template <class Element, LinearTile kTile>
void launch_wgmma(void (*kernel)(WgmmaArgs), const LinearArgs& args, Stream stream) {
  constexpr TileShape kShape = tile_shape(kTile);
  const int row_bytes = row_stride(args.k, sizeof(Element)) * static_cast<int>(sizeof(Element));
  WgmmaArgs made{.linear = args, .src = {}, .weight = {}};
  if (!make_src_source(made.src, args.src, args.rows.most, row_bytes, kShape.rows) ||
      !make_weight_source(made.weight, args.weight, args.columns, row_bytes, kShape.columns,
                          weight_order(args))) {
    return fail_launch();
  }
  LaunchShape shape = linear_launch(args, row_bytes);
  shape.shared_bytes += sizeof(ColumnConstants<kShape.columns>);
  launch(kernel, shape, stream, made);
}

}  // namespace rtai::cuda::RTAI_GRID
