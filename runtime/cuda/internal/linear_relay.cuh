// Linear layers by blocks that stay: one thread has tiles copied, one after the other, and two
// groups of warps take them in turn, so that one group multiplies while the other writes.
#pragma once

#include "runtime/cuda/internal/linear_wgmma.cuh"

namespace rtai::cuda::RTAI_GRID {

inline constexpr int kRelayGroups = 2;

/// A tile of a group; and the block's threads: after those of the groups four warps, one thread of
/// which copies. They are as many as can give registers to the others.
template <LinearTile kTile>
struct RelayShape : StagedTile<kTile> {
  using StagedTile<kTile>::kShape;
  static constexpr int kGroupThreads = StagedTile<kTile>::kTileThreads;
  static constexpr int kCopyThreads = 128;
  static_assert(kShape.threads == kRelayGroups * kGroupThreads + kCopyThreads);
  static_assert(kShape.stays);
  // Registers change hands within what the block began with.
  static constexpr int kFirstRegisters = 65536 / kShape.blocks / kShape.threads / 8 * 8;
  static constexpr int kCopyRegisters = 24;
  static constexpr int kGroupRegisters =
      (kFirstRegisters * kShape.threads - kCopyRegisters * kCopyThreads) /
      (kRelayGroups * kGroupThreads) / 8 * 8;

  // Constants of a group's tile are written while its warps may still read those before them.
  using Constants = ColumnConstants<kShape.columns>[kRelayGroups][2];
};

#ifdef RTAI_HAS_WGMMA

/// Which group may read stages: the other one when this one has begun all products of its tile. A
/// barrier tells the phase it is in from the next, no more: to wait for a stage two uses ahead
/// would not be to wait.
class Turns {
 public:
  __device__ explicit Turns(Barrier* barriers) : barriers_(barriers) {}
  /// By one thread, before the block's barrier. `warps`: of a group.
  __device__ void init(int warps) const {
    for (int group = 0; group < kRelayGroups; ++group)
      init_barrier(&barriers_[group], warps);
  }
  /// For the `turn`th of the group.
  __device__ void wait(int group, int turn) const {
    const int ended = turn - (group == 0 ? 1 : 0);  // turns of the other group
    if (ended >= 0) wait_for_phase(&barriers_[group], ended % 2);
  }
  /// By one lane of every warp.
  __device__ void end(int group) const { arrive(&barriers_[1 - group]); }

 private:
  Barrier* barriers_;
};

/// The tiles of a block.
template <class Shape>
class RelayTiles {
 public:
  __device__ explicit RelayTiles(const LinearArgs& args)
      : rows_(*args.rows.count),
        columns_(args.columns),
        across_(args.columns / Shape::kColumns),
        tiles_(across_ * div_up(rows_, Shape::kRows)) {}

  /// Of tile `i` of this block.
  __device__ bool exists(int i) const { return index(i) < tiles_; }
  __device__ TilePlace place(int i) const {
    const int row = index(i) / across_ * Shape::kRows;
    const int column = index(i) % across_ * Shape::kColumns;
    const int rows = rows_ - row < Shape::kRows ? rows_ - row : Shape::kRows;
    return {row, rows, column, Shape::kColumns, columns_, 0, 0};
  }

 private:
  __device__ static int index(int i) { return block_index() + i * grid_blocks(); }

  int rows_;
  int columns_;
  int across_;
  int tiles_;
};

/// By one thread: copies all stages of all tiles, as soon as there is room.
template <class Shape>
__device__ void copy_tiles(const Stages<Shape>& stages,
                           const RelayTiles<Shape>& tiles,
                           int blocks) {
  // Weights are there before the grid in front has ended; only those stages are free by then that
  // nobody used yet.
  const int ahead = blocks < Shape::kStages ? blocks : Shape::kStages;
  const TilePlace first = tiles.place(0);
  for (int block = 0; block < ahead; ++block)
    stages.copy_weight({block}, block, first.column);
  wait_for_grid_in_front();
  for (int block = 0; block < ahead; ++block)
    stages.copy_src({block}, block, first.row);
  typename Stages<Shape>::Use use = Stages<Shape>::Use::at(ahead);
  bool is_used = ahead == Shape::kStages;  // by others, before
  for (int i = 0; tiles.exists(i); ++i) {
    const TilePlace place = tiles.place(i);
    for (int block = i == 0 ? ahead : 0; block < blocks; ++block) {
      if (is_used) stages.wait_until_empty(use.before());
      stages.copy_weight(use, block, place.column);
      stages.copy_src(use, block, place.row);
      use = use.next();
      is_used = is_used || use.stage == 0;
    }
  }
}

/// By the groups' threads.
template <LinearForm kForm, class Sum, class Shape>
__device__ void compute_tiles(const LinearArgs& args,
                              const Stages<Shape>& stages,
                              const Turns& turns,
                              const RelayTiles<Shape>& tiles,
                              int blocks,
                              typename Shape::Constants& constants) {
  const int group = uniform(thread_index() / Shape::kGroupThreads);
  const int thread = thread_index() % Shape::kGroupThreads;
  const int row = uniform(thread / 128) * 64;
  wait_for_grid_in_front();
  for (int i = group; tiles.exists(i); i += kRelayGroups) {
    const TilePlace place = tiles.place(i);
    const int turn = i / kRelayGroups;
    auto& columns = constants[group][turn % 2];
    columns.read(args, place, thread, Shape::kGroupThreads);
    Sum sums[Shape::kN][4];
    const bool speaks = thread_index() % 32 == 0;
    turns.wait(group, turn);
    stages.multiply(
        sums, row, Stages<Shape>::Use::at(i * blocks), blocks,
        [&](int, auto use) {
          if (speaks) stages.release(use);
        },
        [&] {
          if (speaks) turns.end(group);
        });
    sync_threads(1 + group, Shape::kGroupThreads);
    if (place.rows == Shape::kRows)
      write_form<kForm, true>(sums, place, args, columns, thread / 32);
    else
      write_form<kForm, false>(sums, place, args, columns, thread / 32);
  }
}

template <class Shape, LinearForm kForm, class Sum, class Element>
__device__ void linear_relay(const WgmmaArgs& args) {
  const RelayTiles<Shape> tiles(args.linear);
  let_next_grid_start();
  if (!tiles.exists(0)) return;
  const int blocks = row_bytes_of<Element>(args.linear.k) / kRowAlignment;
  auto* shared = shared_memory<std::byte>();
  std::byte* behind = shared + stage_bytes(Shape::kShape, Shape::kStages);
  auto& constants = *reinterpret_cast<typename Shape::Constants*>(behind + kBarrierBytes);
  auto* barriers = reinterpret_cast<Barrier*>(behind);
  const Stages<Shape> stages(shared, barriers, args, weight_order(kForm));
  const Turns turns(barriers + 2 * Shape::kStages);
  if (thread_index() == 0) {
    turns.init(Shape::kGroupThreads / 32);
    stages.init(Shape::kGroupThreads / 32);
  }
  sync_block();

  // The compiler gives each branch its registers.
  if (thread_index() >= kRelayGroups * Shape::kGroupThreads) {
    give_registers<Shape::kCopyRegisters>();
    if (thread_index() % Shape::kCopyThreads == 0) copy_tiles(stages, tiles, blocks);
  } else {
    take_registers<Shape::kGroupRegisters>();
    compute_tiles<kForm, Sum>(args.linear, stages, turns, tiles, blocks, constants);
  }
}

#endif  // RTAI_HAS_WGMMA

/// Of a form that is known, and whole tiles of columns.
template <class Element, LinearTile kTile, LinearForm kForm>
void launch_relay(void (*kernel)(WgmmaArgs), const LinearArgs& args, Stream stream) {
  using Shape = RelayShape<kTile>;
  WgmmaArgs made{.linear = args, .src = {}, .weight = {}};
  if (!make_sources<Element, Shape::kShape>(made, kForm)) return fail_launch();
  const int tiles = args.columns / Shape::kColumns * div_up(args.rows.most, Shape::kRows);
  const int most = multiprocessors() * Shape::kShape.blocks;
  launch(kernel,
         {.blocks = tiles < most ? tiles : most,
          .threads = Shape::kShape.threads,
          .shared_bytes = stage_bytes(Shape::kShape, Shape::kStages) + kBarrierBytes +
                          sizeof(typename Shape::Constants)},
         stream, made);
}

}  // namespace rtai::cuda::RTAI_GRID
