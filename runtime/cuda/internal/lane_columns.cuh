// What becomes of a tile of results while it is still in registers, where every lane has stretches
// of columns in two rows: nothing goes through shared memory then (tile.cuh).
#pragma once

#include "runtime/cuda/internal/tile.cuh"

namespace rtai::cuda::RTAI_GRID {

/// Sixteen integers.
struct alignas(16) Sixteen {
  std::uint32_t words[4];
};

/// What a lane has of a tile: `Source` says where, and computes it. Its rows are source.row(0) and
/// row(1) of the tile; of columns it has kGroups groups of kFours fours, the first column of each
/// of which is source.column(group, four). kTogether: the four fours of a group follow each other.
/// source.finish<kWhole>(group, x) computes a group, finish_four(group, four, x) one four of both
/// rows and finish_row(group, h, x) all fours of one; source.factor(group, four) is what integers
/// are multiplied by first, ones if there is none. Groups are computed in their order; integers in
/// a loop that goes on with to_next_group(), which measured faster than straight code for a whole
/// tile (docs/gpu.md). kWhole: all of the tile exists, and is aligned.
template <class Source>
class LaneColumns {
 public:
  using Group = Four<float>[Source::kFours][2];

  __device__ LaneColumns(Source& source, const TilePlace& place) : source_(source), place_(place) {}

  /// In the forms of RowsOut.
  template <bool kWhole>
  __device__ void write(const RowsOut& out) const {
    if (out.f32 != nullptr || out.f16 != nullptr) write_floats<kWhole>(out);
    if (out.i8 == nullptr) return;
    if (out.fixed_scale > 0.0f)
      write_integers<kWhole>(out);
    else
      write_dynamic<kWhole>(out);
  }

  template <bool kWhole>
  __device__ void write_floats(const RowsOut& out) const {
#pragma unroll
    for (int group = 0; group < Source::kGroups; ++group) {
      Group x;
      source_.template finish<kWhole>(group, x);
      store_floats<kWhole>(out, x, group);
    }
  }

  /// Integers alone, of a scale that is known: few values at a time, so that registers are left for
  /// steps of several side by side.
  template <bool kWhole>
  __device__ void write_integers(const RowsOut& out) const {
    const float factor = divide(1.0f, out.fixed_scale);
#pragma unroll 1
    for (int group = 0; group < Source::kGroups; ++group) {
      std::uint32_t words[2][Source::kFours];
#pragma unroll
      for (int q = 0; q < Source::kFours; ++q) {
        Four<float> x[2];
        source_.finish_four(group, q, x);
        multiply_by_factor(x, group, q);
#pragma unroll
        for (int h = 0; h < 2; ++h)
          words[h][q] = pack_integers<false>(x[h].values, factor);
      }
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        if (exists<kWhole>(h)) store_words<kWhole>(out.i8, words[h], group, h);
      }
      source_.to_next_group();
    }
    if (place_.column != 0 || thread_index() % 4 != 0) return;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (exists<kWhole>(h)) out.scale[global_row(h)] = out.fixed_scale;
    }
  }

  /// As quantized heads, each within a group: one of 64, or two of 32, of which a pair of lanes has
  /// one each.
  template <bool kWhole, int kHead>
  __device__ void write_heads(const HeadsOut& out) const {
    static_assert(Source::kTogether);
#pragma unroll
    for (int group = 0; group < Source::kGroups; ++group) {
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        Four<float> x[Source::kFours];
        source_.finish_row(group, h, x);
        float largest = 0.0f;
#pragma unroll
        for (int q = 0; q < Source::kFours; ++q)
          largest = largest_of<kWhole>(x[q], group, q, largest);
        const std::uint32_t most = max_lanes<kHead / 16>(magnitude_bits(largest));
        if (!exists<kWhole>(h) || left(group, 0) <= 0) continue;
        const Quantization quantization = dynamic_quantization(most);
        if (source_.column(group, 0) % kHead == 0) {
          out.scale[global_row(h) * out.heads +
                    (place_.column + source_.column(group, 0)) / kHead] = quantization.scale;
        }
        std::uint32_t words[Source::kFours];
#pragma unroll
        for (int q = 0; q < Source::kFours; ++q)
          words[q] = pack_integers<true>(x[q].values, quantization.factor);
        store_words<kWhole>(out.data, words, group, h);
      }
      source_.to_next_group();
    }
  }

 private:
  template <bool kWhole>
  __device__ bool exists(int h) const {
    return kWhole || source_.row(h) < place_.rows;
  }
  __device__ std::int64_t global_row(int h) const {
    return place_.row + source_.row(h);
  }
  __device__ int left(int group, int q) const {
    return place_.columns - source_.column(group, q);
  }

  /// Not a number if one of them is not.
  template <bool kWhole>
  __device__ float largest_of(const Four<float>& x, int group, int q, float largest) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (kWhole || i < left(group, q)) largest = max_or_nan(largest, fabsf(x.values[i]));
    }
    return largest;
  }

  template <bool kWhole>
  __device__ void store_floats(const RowsOut& out, const Group& x, int group) const {
    if (out.f32 != nullptr) {
      for_each_four<kWhole>(group, [&](int q, int h, int column) {
        store_of_tile<kWhole>(out.f32, place_, source_.row(h), column, x[q][h]);
      });
    }
    if (out.f16 != nullptr) {
      for_each_four<kWhole>(group, [&](int q, int h, int column) {
        store_of_tile<kWhole>(out.f16, place_, source_.row(h), column, to_f16(x[q][h]));
      });
    }
  }

  template <bool kWhole, class Use>
  __device__ void for_each_four(int group, Use&& use) const {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!exists<kWhole>(h)) continue;
#pragma unroll
      for (int q = 0; q < Source::kFours; ++q)
        use(q, h, source_.column(group, q));
    }
  }

  __device__ void multiply_by_factor(Four<float> (&x)[2], int group, int q) const {
    const Four<float> factor = source_.factor(group, q);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        x[h].values[i] *= factor.values[i];
    }
  }

  /// Fours of integers of a row.
  template <bool kWhole>
  __device__ void store_words(std::int8_t* rows,
                              const std::uint32_t (&words)[Source::kFours],
                              int group,
                              int h) const {
    std::int8_t* dst = at_of_tile(rows, place_, source_.row(h), source_.column(group, 0));
    if (Source::kTogether && (kWhole || left(group, 0) >= 16)) {
      Sixteen integers;
#pragma unroll
      for (int q = 0; q < Source::kFours; ++q)
        integers.words[q] = words[q];
      *reinterpret_cast<Sixteen*>(dst) = integers;
    } else {
#pragma unroll
      for (int q = 0; q < Source::kFours; ++q) {
        store_four_bytes<kWhole>(dst + source_.column(group, q) - source_.column(group, 0),
                                 words[q], left(group, q));
      }
    }
  }

  /// Integers of a scale that the blocks of a row find together.
  template <bool kWhole>
  __device__ void write_dynamic(const RowsOut& out) const {
    Group x[Source::kGroups];
    float largest[2] = {};
#pragma unroll
    for (int group = 0; group < Source::kGroups; ++group) {
      source_.template finish<kWhole>(group, x[group]);
#pragma unroll
      for (int q = 0; q < Source::kFours; ++q) {
        multiply_by_factor(x[group][q], group, q);
#pragma unroll
        for (int h = 0; h < 2; ++h)
          largest[h] = largest_of<kWhole>(x[group][q][h], group, q, largest[h]);
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const std::uint32_t most = max_lanes<4>(magnitude_bits(largest[h]));
      if (exists<kWhole>(h) && thread_index() % 4 == 0)
        atomic_max(&out.team.absmax[global_row(h)], most);
    }
    meet_team(out.team, place_);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (!exists<kWhole>(h)) continue;
      const Quantization q = dynamic_quantization(load_fresh(&out.team.absmax[global_row(h)]));
      if (place_.column == 0 && thread_index() % 4 == 0) out.scale[global_row(h)] = q.scale;
#pragma unroll
      for (int group = 0; group < Source::kGroups; ++group) {
        std::uint32_t words[Source::kFours];
#pragma unroll
        for (int i = 0; i < Source::kFours; ++i)
          words[i] = pack_integers<true>(x[group][i][h].values, q.factor);
        store_words<kWhole>(out.i8, words, group, h);
      }
    }
  }

  Source& source_;
  const TilePlace& place_;
};

}  // namespace rtai::cuda::RTAI_GRID
