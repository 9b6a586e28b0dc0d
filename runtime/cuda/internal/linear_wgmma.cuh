// Linear layers with Hopper's instructions: one thread has tiles copied, groups of four warps
// multiply, and every lane writes what it has (lane_columns.cuh). Forms that are not known, and
// results whose edge cuts tiles, go through shared memory, as those of mma do.
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

  /// By `threads` that follow each other, of which this is number `thread`; before their barrier.
  __device__ void read(const LinearArgs& args, const TilePlace& place, int thread, int threads) {
#pragma unroll 1
    for (int i = thread; i < kColumns; i += threads) {
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
template <int kN, class Sum, WeightOrder kOrder, Function kFunction>
class LaneSums {
 public:
  static constexpr bool kIsI8 = std::is_same_v<Sum, std::int32_t>;
  static constexpr bool kTogether = kOrder == WeightOrder::sixteens;
  static constexpr int kColumns = 8 * kN;
  // A group of floats is small: residuals take as many registers again.
  static constexpr int kFours = kTogether ? 4 : 2;
  static constexpr int kGroups = kColumns / 16 / kFours;
  using Group = Four<float>[kFours][2];

  /// `warp`: the tile's rows from 16 `warp` on are this warp's.
  __device__ LaneSums(Sum (&sums)[kN][4],
                      const TilePlace& place,
                      const LinearArgs& args,
                      const ColumnConstants<kColumns>& constants,
                      int warp)
      : sums_(sums),
        place_(place),
        args_(args),
        constants_(constants),
        first_row_(warp * 16 + thread_index() % 32 / 4) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const bool known = args.src_scale != nullptr && row(h) < place.rows;
      src_scale_[h] = known ? args.src_scale[place.row + row(h)] : 1.0f;
    }
  }

  __device__ int row(int h) const {
    return first_row_ + 8 * h;
  }
  __device__ static int column(int group, int q) {
    const int lane = thread_index() % 4;
    return 16 * kFours * group + (kTogether ? 16 * lane + 4 * q : 16 * q + 4 * lane);
  }

  __device__ Four<float> factor(int group, int q) const {
    return *reinterpret_cast<const Four<float>*>(constants_.factor + column(group, q));
  }

  /// x = f(sums * scales + bias) + residual. Not kWhole: rows may be missing, columns may not.
  template <bool kWhole>
  __device__ void finish(int group, Group& x) const {
    const bool adds = kOrder == WeightOrder::fours && args_.residual.exist();
    Group residual;
    if (adds) {
      for_each_four([&](int q, int h) {
        const int existing = kWhole || row(h) < place_.rows ? row(h) : 0;
        residual[q][h] = load_four<true>(args_.residual, place_.row + existing, place_.all_columns,
                                         place_.column + column(group, q), 4);
      });
    }
#pragma unroll
    for (int q = 0; q < kFours; ++q)
      finish_four(group, q, kFours * group + q, x[q]);
    if (adds) {
      for_each_four([&](int q, int h) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          x[q][h].values[i] += residual[q][h].values[i];
      });
    }
  }
  /// The same of both rows, or of all fours of one, where there is no residual. Of the group that
  /// to_next_group() has come to.
  __device__ void finish_four(int group, int q, Four<float> (&x)[2]) const {
    finish_four(group, q, q, x);
  }
  __device__ void finish_row(int group, int h, Four<float> (&x)[kFours]) const {
    float values[4 * kFours];
#pragma unroll
    for (int q = 0; q < kFours; ++q)
      scale(group, q, h, q, values + 4 * q);
    if constexpr (kFunction == Function::gelu) gelu<kIsI8>(values);
#pragma unroll
    for (int i = 0; i < 4 * kFours; ++i)
      x[i / 4].values[i % 4] = values[i];
  }
  /// Sums move to where those of the group before were: registers have no index.
  __device__ void to_next_group() {
#pragma unroll
    for (int n = 0; n + 2 * kFours < kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums_[n][i] = sums_[n + 2 * kFours][i];
    }
  }

 private:
  __device__ void finish_four(int group, int q, int from, Four<float> (&x)[2]) const {
    float values[8];
#pragma unroll
    for (int h = 0; h < 2; ++h)
      scale(group, q, h, from, values + 4 * h);
    if constexpr (kFunction == Function::gelu) gelu<kIsI8>(values);
#pragma unroll
    for (int i = 0; i < 8; ++i)
      x[i / 4].values[i % 4] = values[i];
  }
  template <class Use>
  __device__ static void for_each_four(Use&& use) {
#pragma unroll
    for (int q = 0; q < kFours; ++q) {
#pragma unroll
      for (int h = 0; h < 2; ++h)
        use(q, h);
    }
  }

  /// sums * scales + bias; the sums are those of four `from`.
  __device__ void scale(int group, int q, int h, int from, float* x) const {
    const auto bias = *reinterpret_cast<const Four<float>*>(constants_.bias + column(group, q));
    const auto scale =
        *reinterpret_cast<const Four<float>*>(constants_.weight_scale + column(group, q));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto sum = static_cast<float>(sums_[2 * from + i / 2][2 * h + i % 2]);
      if constexpr (kIsI8)
        x[i] = fma_f32(sum * src_scale_[h], scale.values[i], bias.values[i]);
      else
        x[i] = sum + bias.values[i];
    }
  }

  Sum (&sums_)[kN][4];
  const TilePlace& place_;
  const LinearArgs& args_;
  const ColumnConstants<kColumns>& constants_;
  int first_row_;
  float src_scale_[2];
};

/// Integers want long stretches, floats whole sectors of four lanes.
constexpr WeightOrder weight_order(LinearForm form) {
  return form == LinearForm::integers || form == LinearForm::heads ? WeightOrder::sixteens
                                                                   : WeightOrder::fours;
}

template <LinearForm kForm, Function kFunction, bool kWhole, int kN, class Sum>
__device__ void write_function(Sum (&sums)[kN][4],
                               const TilePlace& place,
                               const LinearArgs& args,
                               const ColumnConstants<8 * kN>& constants,
                               int warp) {
  using Source = LaneSums<kN, Sum, weight_order(kForm), kFunction>;
  Source source(sums, place, args, constants, warp);
  const LaneColumns<Source> columns(source, place);
  if constexpr (kForm == LinearForm::floats)
    columns.template write_floats<kWhole>(args.dst);
  else if constexpr (kForm == LinearForm::integers)
    columns.template write_integers<kWhole>(args.dst);
  else if (args.heads.head_dim == 64)
    columns.template write_heads<kWhole, 64>(args.heads);
  else
    columns.template write_heads<kWhole, 32>(args.heads);
}
/// By all warps of a tile, of which this is number `warp`. The columns are whole.
template <LinearForm kForm, bool kWhole, int kN, class Sum>
__device__ void write_form(Sum (&sums)[kN][4],
                           const TilePlace& place,
                           const LinearArgs& args,
                           const ColumnConstants<8 * kN>& constants,
                           int warp) {
  if constexpr (has_gelu(kForm, std::is_same_v<Sum, std::int32_t>)) {
    if (args.function == Function::gelu)
      return write_function<kForm, Function::gelu, kWhole>(sums, place, args, constants, warp);
  }
  write_function<kForm, Function::none, kWhole>(sums, place, args, constants, warp);
}

/// A tile that is multiplied from stages: four warps for each 64 rows, all columns for every one.
template <LinearTile kTile>
struct StagedTile {
  static constexpr TileShape kShape = tile_shape(kTile);
  static constexpr int kRows = kShape.rows;
  static constexpr int kColumns = kShape.columns;
  static constexpr int kTileThreads = kRows / 64 * 128;
  static constexpr int kN = kColumns / 8;
  static constexpr int kStageBytes = (kRows + kColumns) * kRowAlignment;
  static constexpr int kStages = kShape.stages;
};

/// A block for each tile.
template <LinearTile kTile>
struct WgmmaShape : StagedTile<kTile> {
  static constexpr int kThreads = StagedTile<kTile>::kTileThreads;
  static_assert(tile_shape(kTile).threads == kThreads);
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

/// Stages are used one after the other, over and over: which one it is, and in which phase its
/// barriers are.
template <int kStages>
struct StageUse {
  int stage = 0;
  int parity = 0;

  /// The `number`th use of all.
  __device__ static StageUse at(int number) { return {number % kStages, number / kStages % 2}; }
  __device__ StageUse next() const {
    return stage + 1 < kStages ? StageUse{stage + 1, parity} : StageUse{0, 1 - parity};
  }
  /// The same stage, a round earlier.
  __device__ StageUse before() const { return {stage, 1 - parity}; }
};

/// Stages of both operands, and who may use them when.
template <class Shape>
class Stages {
 public:
  using Use = StageUse<Shape::kStages>;

  __device__ Stages(std::byte* stages, Barrier* barriers, const WgmmaArgs& args, WeightOrder order)
      : stages_(stages),
        full_(barriers),
        empty_(barriers + Shape::kStages),
        args_(args),
        apart_(order == WeightOrder::sixteens ? 64 : 16) {}

  /// By one thread, before the block's barrier. `readers`: warps that read a stage.
  __device__ void init(int readers) const {
    for (int i = 0; i < Shape::kStages; ++i) {
      init_barrier(&full_[i], 1);
      init_barrier(&empty_[i], readers);
    }
    publish_barriers();
  }

  // By one thread: 128 bytes of rows from the `block`th on. The copy of weights announces all bytes
  // of the stage.
  __device__ void copy_weight(Use use, int block, int column) const {
    arrive_and_expect(&full_[use.stage], Shape::kStageBytes);
    RTAI_GRID::copy_weight(weight(use), args_.weight, block * kRowAlignment, column / apart_,
                           &full_[use.stage]);
  }
  __device__ void copy_src(Use use, int block, int row) const {
    RTAI_GRID::copy_src(src(use), args_.src, block * kRowAlignment, row, &full_[use.stage]);
  }

  /// By one lane of every warp, when the warp has read what the stage held.
  __device__ void release(Use use) const { arrive(&empty_[use.stage]); }
  __device__ void wait_until_empty(Use use) const {
    wait_for_phase(&empty_[use.stage], use.parity);
  }

  /// sums = products of 64 rows, from `row` of the tile on, with kN eights of columns: of `count`
  /// uses from `use` on. Calls done(i, use) when what the i-th read may be overwritten, and
  /// all_begun() when the products of all are on their way.
  template <class Sum, int kN, class Done, class Begun>
  __device__ void multiply(
      Sum (&sums)[kN][4], int row, Use use, int count, Done&& done, Begun&& all_begun) const {
    const Described a = describe_rows(stages_ + row * kRowAlignment);
    const Described b = describe_rows(stages_ + Shape::kRows * kRowAlignment);
    Use last;
    for (int i = 0; i < count; ++i, use = use.next()) {
      wait_for_phase(&full_[use.stage], use.parity);
      const int byte = use.stage * Shape::kStageBytes;
      begin_products();
#pragma unroll
      for (int step = 0; step < kRowAlignment / 32; ++step) {
        multiply_group(sums, at_byte(a, byte + 32 * step), at_byte(b, byte + 32 * step),
                       i > 0 || step > 0);
      }
      commit_products();
      wait_products<1>();  // the products before these are done
      if (i > 0) done(i - 1, last);
      last = use;
    }
    all_begun();
    wait_products<0>();
    settle(sums);
    done(count - 1, last);
  }

 private:
  __device__ std::byte* src(Use use) const {
    return stages_ + use.stage * Shape::kStageBytes;
  }
  __device__ std::byte* weight(Use use) const {
    return src(use) + Shape::kRows * kRowAlignment;
  }

  std::byte* stages_;
  Barrier* full_;
  Barrier* empty_;
  const WgmmaArgs& args_;
  int apart_;  // columns that a lane's stretches are apart
};

/// Known forms want whole tiles of columns.
template <class Shape, LinearForm kForm, class Sum, class Element>
__device__ void linear_wgmma(const WgmmaArgs& all) {
  const LinearArgs args = known<kForm, Sum>(all.linear);
  const TilePlace place = linear_place<Shape>(args);
  let_next_grid_start();
  if (place.rows <= 0) return;
  const int row_bytes = row_bytes_of<Element>(args.k);
  const int blocks = row_bytes / kRowAlignment;
  auto* shared = shared_memory<std::byte>();
  constexpr TileShape kShape = Shape::kShape;
  std::byte* behind = shared + stage_bytes(kShape, stages_used(kShape, row_bytes));
  auto& constants = *reinterpret_cast<ColumnConstants<Shape::kColumns>*>(behind + kBarrierBytes);
  const Stages<Shape> stages(shared, reinterpret_cast<Barrier*>(behind), all, weight_order(kForm));
  if (thread_index() == 0) stages.init(Shape::kThreads / 32);
  constants.read(args, place, thread_index(), Shape::kThreads);
  sync_block();

  using Use = typename Stages<Shape>::Use;
  const int ahead = blocks < Shape::kStages ? blocks : Shape::kStages;
  if (thread_index() == 0) {
    for (int block = 0; block < ahead; ++block)
      stages.copy_weight({block}, block, place.column);
  }
  wait_for_grid_in_front();
  if (thread_index() == 0) {
    for (int block = 0; block < ahead; ++block)
      stages.copy_src({block}, block, place.row);
  }

  Sum sums[Shape::kN][4];
  const auto copy_next = [&](int block, Use use) {
    if (thread_index() % 32 == 0) stages.release(use);
    const int next = block + Shape::kStages;
    if (thread_index() == 0 && next < blocks) {
      stages.wait_until_empty(use);
      stages.copy_weight(use, next, place.column);
      stages.copy_src(use, next, place.row);
    }
  };
  stages.multiply(sums, uniform(thread_index() / 128) * 64, {}, blocks, copy_next, [] {});

  if constexpr (kForm == LinearForm::any) {
    sync_block();  // shared memory is free for what follows
    using T = Tile<Shape::kRows, Shape::kColumns, Shape::kThreads>;
    auto* tile = shared_memory<float>();
    put_lanes<T>(tile, sums, weight_order(kForm));
    sync_block();
    finish_sums<T>(tile, place, args, SumSource<T, Sum, 1, kForm>(tile, place, args));
  } else {
    const int warp = thread_index() / 32;
    if (place.rows == Shape::kRows)
      write_form<kForm, true>(sums, place, args, constants, warp);
    else
      write_form<kForm, false>(sums, place, args, constants, warp);
    if constexpr (kForm != LinearForm::heads) clear_padding(args.dst, place, Shape::kThreads);
  }
}

#endif  // RTAI_HAS_WGMMA

/// Where tiles are copied from. Errors: false.
template <class Element, TileShape kShape>
bool make_sources(WgmmaArgs& made, LinearForm form) {
  const LinearArgs& args = made.linear;
  const int row_bytes = row_bytes_of<Element>(args.k);
  return make_src_source(made.src, args.src, args.rows.most, row_bytes, kShape.rows) &&
         make_weight_source(made.weight, args.weight, args.columns, row_bytes, kShape.columns,
                            weight_order(form));
}

template <class Element, LinearTile kTile, LinearForm kForm>
void launch_wgmma(void (*kernel)(WgmmaArgs), const LinearArgs& args, Stream stream) {
  constexpr TileShape kShape = tile_shape(kTile);
  WgmmaArgs made{.linear = args, .src = {}, .weight = {}};
  made.linear.tile = kTile;
  if (!make_sources<Element, kShape>(made, kForm)) return fail_launch();
  LaunchShape shape = linear_launch(made.linear, row_bytes_of<Element>(args.k));
  shape.shared_bytes += sizeof(ColumnConstants<kShape.columns>);
  launch(kernel, shape, stream, made);
}

}  // namespace rtai::cuda::RTAI_GRID
