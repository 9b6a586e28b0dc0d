// A linear layer: products of tiles, then what becomes of the sums.
#pragma once

#include "runtime/cuda/internal/gemm.cuh"
#include "runtime/cuda/internal/tile.cuh"

#include <type_traits>

namespace rtai::cuda::RTAI_GRID {

/// What most layers of models make of their sums. Kernels are compiled for each, as short as can
/// be: where rows are few, an instruction is fetched more often than it is executed (docs/gpu.md).
enum class LinearForm : std::uint8_t { any, floats, integers, heads };

/// What products of elements add up in.
template <class Element>
using SumOf = std::conditional_t<std::is_same_v<Element, std::int8_t>, std::int32_t, float>;

/// What gelu is fused with: integers, and the floats of f16 layers.
constexpr bool has_gelu(LinearForm form, bool is_i8) {
  return form == LinearForm::integers || (form == LinearForm::floats && !is_i8);
}

/// `any` for all but one form of result by a plain function.
constexpr LinearForm linear_form(const LinearArgs& args) {
  const RowsOut& out = args.dst;
  const bool alone = out.f32 == nullptr && out.f16 == nullptr && !args.residual.exist();
  const LinearForm form = args.heads.data != nullptr ? LinearForm::heads
                          : out.i8 == nullptr        ? LinearForm::floats
                                                     : LinearForm::integers;
  const bool is_plain =
      args.function == Function::none ||
      (args.function == Function::gelu && has_gelu(form, args.weight_scale != nullptr));
  const bool is_one = form == LinearForm::floats || (form == LinearForm::heads && alone) ||
                      (form == LinearForm::integers && alone && out.fixed_scale > 0.0f);
  return is_plain && is_one ? form : LinearForm::any;
}

/// The same arguments, of which the compiler knows what their form says. Sum: of the products.
template <LinearForm kForm, class Sum>
__device__ LinearArgs known(LinearArgs args) {
  if constexpr (kForm == LinearForm::any) return args;
  if constexpr (!has_gelu(kForm, std::is_same_v<Sum, std::int32_t>)) args.function = Function::none;
  if constexpr (kForm == LinearForm::floats) {
    args.dst.i8 = nullptr;
  } else {
    args.residual = {};
    args.dst.f32 = nullptr;
    args.dst.f16 = nullptr;
  }
  if constexpr (kForm == LinearForm::integers) assume(args.dst.fixed_scale > 0.0f);
  if constexpr (kForm == LinearForm::heads)
    assume(args.heads.data != nullptr);
  else
    args.heads.data = nullptr;
  return args;
}

/// Calls use<form>() for the form of the arguments, one of kForms or else `any`.
template <LinearForm... kForms, class Use>
void with_form(const LinearArgs& args, Use&& use) {
  const LinearForm form = linear_form(args);
  const bool is_known = ((form == kForms && (use.template operator()<kForms>(), true)) || ...);
  if (!is_known) use.template operator()<LinearForm::any>();
}

/// How a grid of tiles is launched.
inline LaunchShape linear_launch(const LinearArgs& args, int row_bytes) {
  const TileShape shape = tile_shape(args.tile);
  const int across = div_up(args.columns, shape.columns);
  return {
      .blocks = across * div_up(args.rows.most, shape.rows),
      .threads = shape.threads,
      .shared_bytes = static_cast<std::size_t>(shared_bytes(shape, stages_used(shape, row_bytes))),
      .team = across};
}

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

/// What a layer makes of sums that lie in `kParts` tiles, one after the other, which add up.
template <class T, class Sum, int kParts, LinearForm kForm>
struct SumSource {
  static constexpr bool kIsI8 = std::is_same_v<Sum, std::int32_t>;
  const float* tile;
  TilePlace place;
  const LinearArgs& args;
  RowFours<T> bias;
  RowFours<T> weight_scale;

  /// Reads what belongs to the columns: before the products, so that nothing waits for it later.
  __device__ SumSource(const float* sums, const TilePlace& at, const LinearArgs& of)
      : tile(sums), place(at), args(of) {
#pragma unroll
    for (int v = 0; v < T::kFours; ++v) {
      const int column = place.column + T::column(v);
      const int count = place.columns - T::column(v);
      bias.of[v] = args.bias == nullptr ? all_four(0.0f) : load_four(args.bias + column, count);
      if constexpr (kIsI8) weight_scale.of[v] = load_four(args.weight_scale + column, count);
    }
  }

  /// What belongs to a row.
  struct RowData {
    RowFours<T> residual;
    float src_scale;
  };
  template <bool kWhole>
  __device__ RowData read_row(int row, bool exists) const {
    const std::int64_t global_row = place.row + row;
    RowData data;
    data.src_scale = kIsI8 && exists ? args.src_scale[global_row] : 1.0f;
#pragma unroll
    for (int v = 0; v < T::kFours; ++v) {
      data.residual.of[v] = all_four(0.0f);
      if (!args.residual.exist() || !exists) continue;
      const int column = T::column(v);
      data.residual.of[v] = load_four<kWhole>(args.residual, global_row, args.columns,
                                              place.column + column, place.columns - column);
    }
    return data;
  }
  // In small tiles every lane has few rows: they are read before the products, too.
  static constexpr bool kReadsEarly = T::kBatch * T::kStep == T::kRows;
  RowData early[kReadsEarly ? T::kBatch : 1];
  __device__ void read_early() {
    if constexpr (kReadsEarly) {
#pragma unroll
      for (int b = 0; b < T::kBatch; ++b) {
        const int row = T::warp_row() + b * T::kStep + T::lane_row();
        early[b] = read_row<false>(row, row < place.rows);
      }
    }
  }

  struct Loaded {
    RowFours<T, Sum> sums;
    RowData row;
  };
  template <bool kWhole>
  __device__ Loaded load(int row, bool exists, int b) const {
    Loaded loaded;
    if constexpr (kReadsEarly)
      loaded.row = early[b];
    else
      loaded.row = read_row<kWhole>(row, exists);
    loaded.sums = sum_tile_row<T, Sum, kParts>(tile, row);
    return loaded;
  }

  __device__ Four<float> finish(const Loaded& loaded, int v) const {
    Four<float> x;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const auto sum = static_cast<float>(loaded.sums.of[v].values[i]);
      x.values[i] = kIsI8 ? fma_f32(sum * loaded.row.src_scale, weight_scale.of[v].values[i],
                                    bias.of[v].values[i])
                          : sum + bias.of[v].values[i];
    }
    if constexpr (kForm == LinearForm::any)
      apply<kIsI8>(args.function, x.values);
    else if (args.function == Function::gelu)
      gelu<kIsI8>(x.values);
    if (args.residual.exist()) {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        x.values[i] += loaded.row.residual.of[v].values[i];
    }
    return x;
  }
};

/// Heads lie within a tile: head_dim is 32 or 64, and divides the columns of a tile.
template <class T, int kHead, bool kWhole, class Source>
__device__ void write_heads(const TilePlace& place, const HeadsOut& out, const Source& source) {
  const bool is_first_lane = T::column(0) % kHead == 0;
  for_each_source_row<T, kWhole>(place, source, [&](const auto& loaded, int row, bool exists) {
#pragma unroll
    for (int v = 0; v < T::kFours; ++v) {
      const int left = kWhole ? 4 : place.columns - T::column(v);
      const Four<float> x = source.finish(loaded, v);
      const Quantization q = dynamic_quantization(max_lanes<kHead / 4>(max_of(x, left, 0)));
      if (!exists || left <= 0) continue;
      if (is_first_lane) {
        out.scale[static_cast<std::int64_t>(place.row + row) * out.heads +
                  (place.column + T::column(v)) / kHead] = q.scale;
      }
      store_integers_of_tile<kWhole>(out.data, place, row, T::column(v), x, q.factor);
    }
  });
}

template <class T, int kHead, class Source>
__device__ void write_heads(const TilePlace& place, const HeadsOut& out, const Source& source) {
  if (is_whole<T>(place)) return write_heads<T, kHead, true>(place, out, source);
  write_heads<T, kHead, false>(place, out, source);
}

template <class T, class Source>
__device__ void finish_sums(float* tile,
                            const TilePlace& place,
                            const LinearArgs& args,
                            const Source& source) {
  if (args.heads.data == nullptr) return write_tile<T>(tile, place, args.dst, source);
  if (args.heads.head_dim == 32) return write_heads<T, 32>(place, args.heads, source);
  if constexpr (T::kColumns >= 64) write_heads<T, 64>(place, args.heads, source);
}

/// A block computes one tile. What a lane holds of its warp's fragments: emulation/device.h.
template <class Shape, LinearForm kForm, class Sum, class Element>
__device__ void linear(const LinearArgs& all) {
  const LinearArgs args = known<kForm, Sum>(all);
  const TilePlace place = linear_place<Shape>(args);
  let_next_grid_start();
  const int row_bytes = row_bytes_of<Element>(args.k);
  using T = Tile<Shape::kRows, Shape::kColumns, Shape::kThreads>;
  auto* tile = shared_memory<float>();
  SumSource<T, Sum, Shape::kParts, kForm> source(tile, place, args);
  Sum sums[Shape::kM][Shape::kN][4];
  const bool exists = multiply_rows<Shape>(
      sums,
      static_cast<const std::byte*>(args.src) + static_cast<std::int64_t>(place.row) * row_bytes,
      place.rows,
      static_cast<const std::byte*>(args.weight) +
          static_cast<std::int64_t>(place.column) * row_bytes,
      place.columns, row_bytes, [&] { source.read_early(); });
  if (!exists) return;

  const int lane = thread_index() % 32;
  put_fragments<T>(tile + Shape::part() * T::kWords, sums, Shape::warp_row() + lane / 4,
                   Shape::warp_column() + lane % 4 * 2);
  sync_block();
  finish_sums<T>(tile, place, args, source);
}

}  // namespace rtai::cuda::RTAI_GRID
