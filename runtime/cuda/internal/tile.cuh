// A tile of results in shared memory, and what becomes of it: the forms of RowsOut.
//
// Matrix instructions leave a tile scattered over the registers of all threads. Through shared
// memory a few lanes get whole stretches of a row, four columns each: what belongs to a column is
// read once for all rows, a row's maxima are shuffles, memory is read and written in whole
// lines, and the code is one short loop for every kernel.
#pragma once

#include "runtime/cuda/internal/four.cuh"
#include "runtime/cuda/internal/numbers.cuh"

namespace rtai::cuda::RTAI_GRID {

/// The part of a result that a block computes.
struct TilePlace {
  int row;          // of the result, where the tile begins
  int rows;         // of the tile that exist
  int column;       // of the result
  int columns;      // of the tile that exist
  int all_columns;  // of the result
  int team;         // which team the block belongs to
  int team_blocks;  // blocks of a team
};

/// Which of the grid's blocks this one is to be: see RowTeam::ticket. `shared`: one word.
__device__ inline int place_in_grid(const RowTeam& team, int* shared) {
  if (team.ticket == nullptr) return block_index();
  if (thread_index() == 0) *shared = atomic_add(team.ticket, 1);
  sync_block();
  const int place = *shared;
  sync_block();
  return place;
}

template <int kTileRows, int kTileColumns, int kTileThreads>
struct Tile {
  static constexpr int kRows = kTileRows;
  static constexpr int kColumns = kTileColumns;
  static constexpr int kThreads = kTileThreads;
  static constexpr int kPitch = tile_pitch(kColumns);
  static constexpr int kWords = kRows * kPitch;
  static constexpr int kLanes = kColumns >= 128 ? 32 : kColumns / 4;  // of a row
  static constexpr int kFours = kColumns / 4 / kLanes;                // of a lane
  static constexpr int kRowsOfWarp = 32 / kLanes;                     // at once
  static constexpr int kStep = kThreads / 32 * kRowsOfWarp;           // rows of all warps at once
  // Rows whose data is on its way at the same time.
  static constexpr int kBatch = kRows / kStep < 4 ? kRows / kStep : 4;
  static_assert(kRows % (kBatch * kStep) == 0);

  /// Column of four `v` of this lane.
  __device__ static int column(int v) { return (thread_index() % kLanes + v * kLanes) * 4; }
  /// First row of this warp, and of this lane after it.
  __device__ static int warp_row() { return thread_index() / 32 * kRowsOfWarp; }
  __device__ static int lane_row() { return thread_index() % 32 / kLanes; }
};

/// Values of fragment (m, n) of mma: rows first_row + 16 m + 8 h, columns first_column + 8 n + e.
template <class T, class Value, int kM, int kN>
__device__ void put_fragments(float* tile,
                              const Value (&values)[kM][kN][4],
                              int first_row,
                              int first_column) {
  static_assert(sizeof(Value) == sizeof(float));
  struct alignas(8) Pair {
    Value values[2];
  };
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        float* at = tile + (first_row + 16 * m + 8 * h) * T::kPitch + first_column + 8 * n;
        *reinterpret_cast<Pair*>(at) = {{values[m][n][2 * h], values[m][n][2 * h + 1]}};
      }
    }
  }
}

/// For the rows of this lane: calls load(row of the tile, whether it exists, number of kBatch) for
/// some at once, then use(what load gave, row, whether it exists) for each. The lanes of a warp go
/// together. kWhole: all rows exist, and nothing keeps the compiler from mixing those of a batch.
template <class T, bool kWhole, class Load, class Use>
__device__ void for_each_tile_row(const TilePlace& place, Load&& load, Use&& use) {
  const int rows = kWhole ? T::kRows : place.rows;
  for (int first = T::warp_row(); first < rows; first += T::kBatch * T::kStep) {
    decltype(load(0, false, 0)) loaded[T::kBatch];
#pragma unroll
    for (int b = 0; b < T::kBatch; ++b) {
      const int row = first + b * T::kStep + T::lane_row();
      loaded[b] = load(row, kWhole || row < rows, b);
    }
#pragma unroll
    for (int b = 0; b < T::kBatch; ++b) {
      const int row = first + b * T::kStep + T::lane_row();
      if (kWhole || first + b * T::kStep < rows) use(loaded[b], row, kWhole || row < rows);
    }
  }
}

template <int kLanes>
__device__ std::uint32_t max_lanes(std::uint32_t value) {
#pragma unroll
  for (int mask = kLanes / 2; mask > 0; mask /= 2)
    value = larger(value, shuffle_xor(value, mask));
  return value;
}

/// Waits until the blocks of the team have come here.
__device__ inline void meet_team(const RowTeam& team, const TilePlace& place) {
  sync_block();
  if (thread_index() == 0) {
    add_release(&team.arrived[place.team], 1);
    while (load_acquire(&team.arrived[place.team]) < place.team_blocks)
      pause();
  }
  sync_block();
}

/// Zeros from the last column to the end of the row, in the forms that matrix kernels read. By
/// `threads` that follow each other, the first a multiple of as many.
__device__ inline void clear_padding(const RowsOut& out, const TilePlace& place, int threads) {
  if (place.column + place.columns < place.all_columns) return;
  const int stride_f16 = row_stride(place.all_columns, 2);
  const int stride_i8 = row_stride(place.all_columns, 1);
  if (stride_i8 == place.all_columns) return;  // then the other is, too
#pragma unroll 1
  for (int r = thread_index() % threads / 32; r < place.rows; r += threads / 32) {
    const std::int64_t row = place.row + r;
    if (out.f16 != nullptr) {
#pragma unroll 1
      for (int c = place.all_columns + thread_index() % 32; c < stride_f16; c += 32)
        out.f16[row * stride_f16 + c] = 0;
    }
    if (out.i8 != nullptr) {
#pragma unroll 1
      for (int c = place.all_columns + thread_index() % 32; c < stride_i8; c += 32)
        out.i8[row * stride_i8 + c] = 0;
    }
  }
}

/// True if all of a tile exists, and lies where four columns can be read and written at once.
template <class T>
__device__ bool is_whole(const TilePlace& place) {
  return place.rows == T::kRows && place.columns == T::kColumns && place.column % 4 == 0;
}

/// Where an element of the tile is in the result that begins at `rows`.
template <class Element>
__device__ Element* at_of_tile(Element* rows, const TilePlace& place, int row, int column) {
  return rows +
         static_cast<std::int64_t>(place.row + row) *
             row_stride(place.all_columns, sizeof(Element)) +
         place.column + column;
}
/// Stores four values of a row of the tile.
template <bool kWhole, class Element>
__device__ void store_of_tile(
    Element* rows, const TilePlace& place, int row, int column, const Four<Element>& four) {
  store_four<kWhole>(at_of_tile(rows, place, row, column), four, place.columns - column);
}
/// Stores integers of four values.
template <bool kWhole>
__device__ void store_integers_of_tile(std::int8_t* rows,
                                       const TilePlace& place,
                                       int row,
                                       int column,
                                       const Four<float>& x,
                                       float factor) {
  store_four_bytes<kWhole>(at_of_tile(rows, place, row, column),
                           pack_integers<false>(x.values, factor), place.columns - column);
}

template <bool kWhole>
__device__ void write_floats(
    const RowsOut& out, const TilePlace& place, int row, int column, const Four<float>& x) {
  if (out.f32 != nullptr) store_of_tile<kWhole>(out.f32, place, row, column, x);
  if (out.f16 != nullptr) store_of_tile<kWhole>(out.f16, place, row, column, to_f16(x));
}

__device__ inline std::uint32_t max_of(const Four<float>& x, int count, std::uint32_t most) {
  float of_four = 0.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) of_four = max_or_nan(of_four, fabsf(x.values[i]));
  }
  return larger(most, magnitude_bits(of_four));
}

/// The fours of a row that this lane has.
template <class T, class Element = float>
struct RowFours {
  Four<Element> of[T::kFours];
};
template <class T, class Element = float>
__device__ RowFours<T, Element> load_tile_row(const float* tile, int row) {
  RowFours<T, Element> fours;
#pragma unroll
  for (int v = 0; v < T::kFours; ++v)
    fours.of[v] = *reinterpret_cast<const Four<Element>*>(tile + row * T::kPitch + T::column(v));
  return fours;
}
/// Of kParts tiles, one after the other, which add up.
template <class T, class Element, int kParts>
__device__ RowFours<T, Element> sum_tile_row(const float* tile, int row) {
  RowFours<T, Element> sums = load_tile_row<T, Element>(tile, row);
#pragma unroll
  for (int part = 1; part < kParts; ++part) {
    const auto more = load_tile_row<T, Element>(tile + part * T::kWords, row);
#pragma unroll
    for (int v = 0; v < T::kFours; ++v) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        sums.of[v].values[i] += more.of[v].values[i];
    }
  }
  return sums;
}

/// for_each_tile_row on the rows of a source: see write_tile.
template <class T, bool kWhole, class Source, class Use>
__device__ void for_each_source_row(const TilePlace& place, const Source& source, Use&& use) {
  for_each_tile_row<T, kWhole>(
      place,
      [&](int row, bool exists, int b) { return source.template load<kWhole>(row, exists, b); },
      use);
}

/// Values that a tile holds as they are.
template <class T>
struct FinishedValues {
  const float* tile;

  template <bool kWhole>
  __device__ RowFours<T> load(int row, bool, int) const {
    return load_tile_row<T>(tile, row);
  }
  __device__ Four<float> finish(const RowFours<T>& row, int v) const { return row.of[v]; }
};

/// Writes a tile in all forms. The values are what `source` has: load reads a row
/// (for_each_tile_row), finish(read, v) gives the lane's four `v` of it. In `tile` they wait while
/// blocks of a row meet.
template <class T, bool kWhole, class Source>
__device__ void write_tile(float* tile,
                           const TilePlace& place,
                           const RowsOut& out,
                           const Source& source) {
  const bool fixed = out.fixed_scale > 0.0f;
  const bool dynamic = out.i8 != nullptr && !fixed;
  const bool is_first_lane = thread_index() % T::kLanes == 0;
  RowFours<T> column_factor;
#pragma unroll
  for (int v = 0; v < T::kFours; ++v) {
    column_factor.of[v] = out.column_factor == nullptr
                              ? all_four(1.0f)
                              : load_four(out.column_factor + place.column + T::column(v),
                                          place.columns - T::column(v));
  }
  const float inverse_scale = fixed ? divide(1.0f, out.fixed_scale) : 0.0f;

  for_each_source_row<T, kWhole>(place, source, [&](const auto& loaded, int row, bool exists) {
    std::uint32_t most = 0;
#pragma unroll
    for (int v = 0; v < T::kFours; ++v) {
      Four<float> x = source.finish(loaded, v);
      if (exists) write_floats<kWhole>(out, place, row, T::column(v), x);
      if (out.i8 == nullptr) continue;
      if (out.column_factor != nullptr) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
          x.values[i] *= column_factor.of[v].values[i];
      }
      if (dynamic) {
        if (exists) *reinterpret_cast<Four<float>*>(tile + row * T::kPitch + T::column(v)) = x;
        most = max_of(x, kWhole ? 4 : place.columns - T::column(v), most);
      } else if (exists) {
        store_integers_of_tile<kWhole>(out.i8, place, row, T::column(v), x, inverse_scale);
      }
    }
    if (dynamic) {
      most = max_lanes<T::kLanes>(most);
      if (exists && is_first_lane) atomic_max(&out.team.absmax[place.row + row], most);
    } else if (out.i8 != nullptr && exists && is_first_lane && place.column == 0) {
      out.scale[place.row + row] = out.fixed_scale;
    }
  });
  clear_padding(out, place, T::kThreads);
  if (!dynamic) return;

  meet_team(out.team, place);
  for_each_tile_row<T, kWhole>(
      place,
      [&](int row, bool exists, int) {
        return exists ? load_fresh(&out.team.absmax[place.row + row]) : 0u;
      },
      [&](std::uint32_t absmax, int row, bool exists) {
        if (!exists) return;
        const Quantization q = dynamic_quantization(absmax);
        if (place.column == 0 && is_first_lane) out.scale[place.row + row] = q.scale;
        const RowFours<T> x = load_tile_row<T>(tile, row);
#pragma unroll
        for (int v = 0; v < T::kFours; ++v)
          store_integers_of_tile<kWhole>(out.i8, place, row, T::column(v), x.of[v], q.factor);
      });
}

template <class T, class Source>
__device__ void write_tile(float* tile,
                           const TilePlace& place,
                           const RowsOut& out,
                           const Source& source) {
  if (is_whole<T>(place)) return write_tile<T, true>(tile, place, out, source);
  write_tile<T, false>(tile, place, out, source);
}

}  // namespace rtai::cuda::RTAI_GRID
