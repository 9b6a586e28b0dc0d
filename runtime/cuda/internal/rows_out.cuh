// Writing a tile of results, of which every thread holds fragments, in the forms of RowsOut.
#pragma once

#include "runtime/cuda/internal/numbers.cuh"

namespace rtai::cuda::RTAI_GRID {

/// Where the fragments of a thread lie: fragment (m, n) has its values 2 h + e at row
/// first_row + 16 m + 8 h and column first_column + 8 n + e of the tile.
struct Fragments {
  int first_row;
  int first_column;

  __device__ int row(int m, int h) const { return first_row + 16 * m + 8 * h; }
  __device__ int column(int n) const { return first_column + 8 * n; }
};

/// The part of a result that a block computes.
struct TilePlace {
  int row;           // of the result, where the tile begins
  int rows;          // of the tile that exist
  int column;        // of the result
  int columns;       // of the tile that exist
  int all_columns;   // of the result
  int team;          // which team the block belongs to
  int team_blocks;   // blocks of a team
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

/// Largest magnitude of each row over the columns of the tile that exist, for all threads: in
/// `shared` [kTileRows].
template <int kTileRows, int kM, int kN>
__device__ void find_row_maxima(const float (&values)[kM][kN][4],
                                const Fragments& at,
                                const TilePlace& place,
                                std::uint32_t* shared) {
  for (int i = thread_index(); i < kTileRows; i += 32)
    if (thread_index() < 32) shared[i] = 0;
  sync_block();
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      std::uint32_t most = 0;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          if (at.column(n) + e < place.columns)
            most = larger(most, magnitude_bits(values[m][n][2 * h + e]));
        }
      }
      most = larger(most, shuffle_xor(most, 1));  // the four lanes that share a row
      most = larger(most, shuffle_xor(most, 2));
      if (thread_index() % 4 == 0) atomic_max(&shared[at.row(m, h)], most);
    }
  }
  sync_block();
}

/// Replaces the maxima of the tile by those over all blocks of the team.
template <int kTileRows>
__device__ void meet_team(const RowTeam& team, const TilePlace& place, std::uint32_t* shared) {
  const int row = thread_index();
  static_assert(kTileRows <= 128);
  if (row < kTileRows && row < place.rows) atomic_max(&team.absmax[place.row + row], shared[row]);
  sync_block();
  if (thread_index() == 0) {
    add_release(&team.arrived[place.team], 1);
    while (load_acquire(&team.arrived[place.team]) < place.team_blocks)
      pause();
  }
  sync_block();
  if (row < kTileRows && row < place.rows) shared[row] = load_fresh(&team.absmax[place.row + row]);
  sync_block();
}

/// Zeros from the last column to the end of the row, in the forms that matrix kernels read.
__device__ inline void clear_padding(const RowsOut& out, const TilePlace& place, int threads) {
  if (place.column + place.columns < place.all_columns) return;
  for (int r = thread_index() / 32; r < place.rows; r += threads / 32) {
    const std::int64_t row = place.row + r;
    if (out.f16 != nullptr) {
      const int stride = row_stride(place.all_columns, 2);
      for (int c = place.all_columns + thread_index() % 32; c < stride; c += 32)
        out.f16[row * stride + c] = 0;
    }
    if (out.i8 != nullptr) {
      const int stride = row_stride(place.all_columns, 1);
      for (int c = place.all_columns + thread_index() % 32; c < stride; c += 32)
        out.i8[row * stride + c] = 0;
    }
  }
}

template <class T>
struct alignas(2 * sizeof(T)) Pair {
  T values[2];
};

/// One or two elements, as one store where they are an aligned pair.
template <class T>
__device__ void store_pair(T* dst, bool both, T first, T second) {
  if (both && reinterpret_cast<std::uintptr_t>(dst) % sizeof(Pair<T>) == 0) {
    *reinterpret_cast<Pair<T>*>(dst) = {{first, second}};
    return;
  }
  dst[0] = first;
  if (both) dst[1] = second;
}

/// Calls store(row of the tile, column of the tile, both exist, value, value) for every pair.
template <int kM, int kN, class Store>
__device__ void for_each_pair(const float (&values)[kM][kN][4],
                              const Fragments& at,
                              const TilePlace& place,
                              Store&& store) {
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int row = at.row(m, h);
      if (row >= place.rows) continue;
#pragma unroll
      for (int n = 0; n < kN; ++n) {
        const int column = at.column(n);
        if (column >= place.columns) continue;
        store(row, column, column + 1 < place.columns, values[m][n][2 * h], values[m][n][2 * h + 1]);
      }
    }
  }
}

/// Writes all forms. `shared`: kTileRows words, free to use. Values are multiplied by the column
/// factors on the way.
template <int kTileRows, int kM, int kN>
__device__ void write_rows(float (&values)[kM][kN][4],
                           const Fragments& at,
                           const TilePlace& place,
                           const RowsOut& out,
                           std::uint32_t* shared,
                           int threads) {
  if (out.f32 != nullptr) {
    const int stride = row_stride(place.all_columns, 4);
    for_each_pair(values, at, place, [&](int row, int column, bool both, float a, float b) {
      float* dst =
          out.f32 + static_cast<std::int64_t>(place.row + row) * stride + place.column + column;
      store_pair(dst, both, a, b);
    });
  }
  if (out.f16 != nullptr) {
    const int stride = row_stride(place.all_columns, 2);
    for_each_pair(values, at, place, [&](int row, int column, bool both, float a, float b) {
      std::uint16_t* dst =
          out.f16 + static_cast<std::int64_t>(place.row + row) * stride + place.column + column;
      store_pair(dst, both, to_f16(a).bits, to_f16(b).bits);
    });
  }
  clear_padding(out, place, threads);
  if (out.i8 == nullptr) return;

  if (out.column_factor != nullptr) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = at.column(n) + e;
        if (column >= place.columns) continue;
        const float factor = out.column_factor[place.column + column];
#pragma unroll
        for (int m = 0; m < kM; ++m) {
          values[m][n][e] *= factor;
          values[m][n][2 + e] *= factor;
        }
      }
    }
  }
  const bool dynamic = !(out.fixed_scale > 0.0f);
  if (dynamic) {
    find_row_maxima<kTileRows>(values, at, place, shared);
    meet_team<kTileRows>(out.team, place, shared);
  }
  if (const int row = thread_index(); row < place.rows) {
    const Quantization q = dynamic ? dynamic_quantization(shared[row])
                                   : Quantization{out.fixed_scale, divide(1.0f, out.fixed_scale)};
    if (place.column == 0) out.scale[place.row + row] = q.scale;
    shared[row] = float_bits(q.factor);
  }
  sync_block();
  const int stride = row_stride(place.all_columns, 1);
  for_each_pair(values, at, place, [&](int row, int column, bool both, float a, float b) {
    const float factor = bits_float(shared[row]);
    std::int8_t* dst =
        out.i8 + static_cast<std::int64_t>(place.row + row) * stride + place.column + column;
    store_pair(dst, both, to_integer(a * factor), to_integer(b * factor));
  });
}

}  // namespace rtai::cuda::RTAI_GRID
