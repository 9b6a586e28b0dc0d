#include "runtime/cuda/internal/four.cuh"
#include "runtime/cuda/internal/numbers.cuh"
#include "runtime/cuda/internal/row_parts.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {
namespace {

constexpr int kBlocks = 4;  // of a multiprocessor that registers are meant for
constexpr int kMostBlocks = 132 * kBlocks;

/// A row's threads: one warp, of four in a block, or all of a block. Each holds kVectors times four
/// neighbours of the row, so that a warp reads 512 bytes at once. kAllColumns: the row has as many
/// columns.
template <int kWarpsOfRow, int kVectorCount, bool kAllColumns>
struct RowThreads {
  static constexpr bool kWhole = kAllColumns;
  static constexpr int kWarps = kWarpsOfRow;
  static constexpr int kVectors = kVectorCount;
  static constexpr int kRowThreads = 32 * kWarps;
  static constexpr int kThreads = kWarps == 1 ? 128 : kRowThreads;
  static constexpr int kRowsOfBlock = kThreads / kRowThreads;

  __device__ static int first_row() {
    return block_index() * kRowsOfBlock + thread_index() / kRowThreads;
  }
  __device__ static bool is_first() { return thread_index() % kRowThreads == 0; }
  /// First column of four `v`.
  __device__ static int column(int v) {
    return 4 * (v * kRowThreads + thread_index() % kRowThreads);
  }

  /// What `combine` makes of all threads' values, for all of them. `shared`: a word for each warp.
  template <class T, class Combine>
  __device__ static T reduce(T value, T* shared, Combine&& combine) {
#pragma unroll
    for (int mask = 16; mask > 0; mask /= 2)
      value = combine(value, shuffle_xor(value, mask));
    if constexpr (kWarps > 1) {
      if (thread_index() % 32 == 0) shared[thread_index() / 32] = value;
      sync_block();
      value = shared[0];
#pragma unroll
      for (int i = 1; i < kWarps; ++i)
        value = combine(value, shared[i]);
      sync_block();
    }
    return value;
  }
  __device__ static float sum(float value, float* shared) {
    return reduce(value, shared, [](float a, float b) { return a + b; });
  }

  /// Calls body(vector, element, column) for the elements of this thread.
  template <class Body>
  __device__ static void for_each_element(int columns, Body&& body) {
#pragma unroll
    for (int v = 0; v < kVectors; ++v) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (kWhole || column(v) + i < columns) body(v, i, column(v) + i);
      }
    }
  }
};

/// What the threads of rows tell each other.
template <class R>
struct RowShared {
  std::uint64_t parts[2 * R::kWarps * R::kVectors];  // of a row: to_word
  float words[R::kThreads / 32];                     // of each warp
};

/// Elements [column, column + 4) of a row, zeros from `columns` on.
template <bool kWhole = false>
__device__ void load_columns(float (&x)[4], const float* row, int column, int columns) {
  const Four<float> four = load_four<kWhole>(row + column, columns - column);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    x[i] = four.values[i];
}

/// Adds a row of a table, as `index` says; an index outside is row 0 and a fault.
template <bool kWhole>
__device__ void add_table_row(float (&x)[4],
                              const LookupTable& table,
                              std::int32_t index,
                              std::uint32_t* fault,
                              int column,
                              int columns) {
  if (table.data == nullptr) return;
  if (index < 0 || index >= table.rows) {
    atomic_or(fault, 1u);
    index = 0;
  }
  const std::int64_t first = static_cast<std::int64_t>(index) * columns;
  if (table.scale == nullptr) {
    float row[4];
    load_columns<kWhole>(row, static_cast<const float*>(table.data) + first, column, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[i] += row[i];
    return;
  }
  const auto* row = static_cast<const std::int8_t*>(table.data) + first + column;
  const float scale = table.scale[index];
  const Four<std::int8_t> four = load_four<kWhole>(row, columns - column);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    x[i] += static_cast<float>(four.values[i]) * scale;
}

template <Rows::Source kSource, bool kWhole>
__device__ void load_source(float (&x)[4], const Rows::Args& args, int row, int column) {
  const auto load_row = [&](float(&of)[4], std::int64_t r) {
    const Four<float> four = load_four<kWhole>(args.src, r, args.src_columns,
                                               args.first_column + column, args.columns - column);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      of[i] = four.values[i];
  };
  if constexpr (kSource == Rows::Source::rows) {
    load_row(x, args.row_of != nullptr ? args.row_of[row] : row);
  } else if constexpr (kSource == Rows::Source::embedding) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[i] = 0.0f;
    add_table_row<kWhole>(x, args.word, args.ids[row], args.fault, column, args.columns);
    add_table_row<kWhole>(x, args.position, args.positions[row], args.fault, column, args.columns);
    add_table_row<kWhole>(x, args.segment, args.segments[row], args.fault, column, args.columns);
  } else {
    const std::int32_t begin = args.offsets[row];
    const std::int32_t end = args.offsets[row + 1];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[i] = 0.0f;
    for (std::int32_t r = begin; r < end; ++r) {
      float other[4];
      load_row(other, r);
#pragma unroll
      for (int i = 0; i < 4; ++i)
        x[i] += other[i];
    }
    const float inverse = divide(1.0f, static_cast<float>(end - begin));
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[i] *= inverse;
  }
}

/// What a norm multiplies by and adds, of the columns of this thread: read once for all its rows,
/// and before the grid in front has ended, as it does not write them. Of wide rows only where it is
/// used: registers are few.
template <class R>
struct NormColumns {
  static constexpr bool kReadsEarly = R::kWarps == 1 || R::kVectors <= 2;
  const Rows::Args& args;
  float weight[kReadsEarly ? R::kVectors : 1][4];
  float bias[kReadsEarly ? R::kVectors : 1][4];

  __device__ explicit NormColumns(const Rows::Args& of) : args(of) {
    if constexpr (kReadsEarly) {
      if (args.norm != Rows::Norm::layer) return;
#pragma unroll
      for (int v = 0; v < R::kVectors; ++v) {
        load_columns<R::kWhole>(weight[v], args.weight, R::column(v), args.columns);
        load_columns<R::kWhole>(bias[v], args.bias, R::column(v), args.columns);
      }
    }
  }
  __device__ float apply(float x, int v, int i, int column) const {
    if constexpr (kReadsEarly) return fma_f32(x, weight[v][i], bias[v][i]);
    return fma_f32(x, args.weight[column], args.bias[column]);
  }
};

/// Sixteen lanes have a part of the row: lane 4 q + t of them.
__device__ float sum_of_part(float four) {
#pragma unroll
  for (const int mask : {4, 8, 1, 2})
    four += shuffle_xor(four, mask);
  return four;
}

template <class R>
__device__ RowNorm layer_norm(const float (&x)[R::kVectors][4],
                              const Rows::Args& args,
                              RowShared<R>& shared) {
  const int half = thread_index() % 32 / 16;
  std::uint64_t own[R::kVectors];  // the part that each four is in
#pragma unroll
  for (int v = 0; v < R::kVectors; ++v) {
    const int number = R::column(v) / kPartColumns;
    const float sum = sum_of_part(add_four(x[v][0], x[v][1], x[v][2], x[v][3]));
    const float mean =
        part_mean(sum, R::kWhole ? kPartColumns : part_columns(number, args.columns));
    float distances[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const bool exists = R::kWhole || R::column(v) + i < args.columns;
      distances[i] = exists ? square(x[v][i] - mean) : 0.0f;
    }
    const float squares =
        sum_of_part(add_four(distances[0], distances[1], distances[2], distances[3]));
    own[v] = to_word({sum, squares});
    if (R::kWarps > 1 && thread_index() % 16 == 0) shared.parts[number] = own[v];
  }
  if constexpr (R::kWarps > 1) {
    sync_block();
    constexpr int kParts = R::kWhole ? 2 * R::kWarps * R::kVectors : 0;
    const RowNorm norm = norm_of_parts<kParts>(args.columns, args.epsilon,
                                               [&](int i) { return to_part(shared.parts[i]); });
    sync_block();
    return norm;
  } else {
    std::uint64_t parts[2 * R::kVectors];
#pragma unroll
    for (int v = 0; v < R::kVectors; ++v) {
      const std::uint64_t other = shuffle_xor(own[v], 16);
      parts[2 * v] = half == 0 ? own[v] : other;
      parts[2 * v + 1] = half == 0 ? other : own[v];
    }
    return norm_of_parts<2 * R::kVectors>(args.columns, args.epsilon,
                                          [&](int i) { return to_part(parts[i]); });
  }
}

template <class R>
__device__ void normalize(float (&x)[R::kVectors][4],
                          const Rows::Args& args,
                          const NormColumns<R>& norm,
                          RowShared<R>& shared) {
  if (args.norm == Rows::Norm::none) return;
  float squares = 0.0f;
  if (args.norm == Rows::Norm::l2) {
    R::for_each_element(args.columns, [&](int v, int i, int) { squares += x[v][i] * x[v][i]; });
    const float inverse = divide(1.0f, fmaxf(square_root(R::sum(squares, shared.words)), 1e-12f));
    R::for_each_element(args.columns, [&](int v, int i, int) { x[v][i] *= inverse; });
    return;
  }
  const RowNorm of_row = layer_norm<R>(x, args, shared);
  R::for_each_element(args.columns, [&](int v, int i, int column) {
    x[v][i] = norm.apply((x[v][i] - of_row.mean) * of_row.inverse, v, i, column);
  });
}

/// Four elements of a row, up to the end of the padding.
template <bool kWhole, class T, class Convert>
__device__ void store_padded(T* row, int column, int stride, Convert&& convert) {
  if (!kWhole && column >= stride) return;
  Four<T> four;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    four.values[i] = convert(i);
  *reinterpret_cast<Four<T>*>(row + column) = four;
}

template <class R>
__device__ void write(float (&x)[R::kVectors][4],
                      const RowsOut& out,
                      std::int64_t row,
                      int columns,
                      std::uint32_t* shared) {
#pragma unroll
  for (int v = 0; v < R::kVectors; ++v) {
    if (out.f32 != nullptr) {
      const int stride = row_stride(columns, 4);
      store_padded<R::kWhole>(out.f32 + row * stride, R::column(v), stride,
                              [&](int i) { return x[v][i]; });
    }
    if (out.f16 != nullptr) {
      const int stride = row_stride(columns, 2);
      store_padded<R::kWhole>(out.f16 + row * stride, R::column(v), stride,
                              [&](int i) { return to_f16(x[v][i]).bits; });
    }
  }
  if (out.i8 == nullptr) return;
  if (out.column_factor != nullptr) {
    R::for_each_element(columns,
                        [&](int v, int i, int column) { x[v][i] *= out.column_factor[column]; });
  }
  Quantization q;
  if (out.fixed_scale > 0.0f) {
    q = {out.fixed_scale, divide(1.0f, out.fixed_scale)};
  } else {
    std::uint32_t most = 0;
    R::for_each_element(columns,
                        [&](int v, int i, int) { most = larger(most, magnitude_bits(x[v][i])); });
    q = dynamic_quantization(R::reduce(most, shared, larger));
  }
  if (R::is_first()) out.scale[row] = q.scale;
  const int stride = row_stride(columns, 1);
#pragma unroll
  for (int v = 0; v < R::kVectors; ++v) {
    const int column = R::column(v);
    if (!R::kWhole && column >= stride) continue;
    // Beyond the columns x is zero.
    *reinterpret_cast<std::uint32_t*>(out.i8 + row * stride + column) =
        pack_integers<false>(x[v], q.factor);
  }
}

/// What a row is before its function and its norm; zeros beyond its columns.
template <Rows::Source kSource, class R>
__device__ void read(float (&x)[R::kVectors][4], const Rows::Args& args, int row) {
#pragma unroll
  for (int v = 0; v < R::kVectors; ++v) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[v][i] = 0.0f;
    if (R::kWhole || R::column(v) < args.columns)
      load_source<kSource, R::kWhole>(x[v], args, row, R::column(v));
  }
  if (!args.addend.exist()) return;
#pragma unroll
  for (int v = 0; v < R::kVectors; ++v) {
    if (!R::kWhole && R::column(v) >= args.columns) continue;
    const Four<float> other = load_four<R::kWhole>(args.addend, row, args.columns, R::column(v),
                                                   args.columns - R::column(v));
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[v][i] += other.values[i];
  }
}

/// Blocks of a launch: those of many rows take some each.
template <class R>
constexpr int blocks_of(const Rows::Args& args) {
  const int blocks = div_up(args.rows.most, R::kRowsOfBlock);
  return blocks < kMostBlocks ? blocks : kMostBlocks;
}

/// True of the norms of int8 models: of floats as they lie there, which become floats and integers
/// of a scale that is known.
bool is_plain(const Rows::Args& args) {
  const RowsOut& out = args.dst;
  const bool as_they_lie = args.row_of == nullptr && args.src.f16 == nullptr &&
                           args.src_columns == args.columns && args.first_column == 0;
  return as_they_lie && !args.addend.exist() && args.function == Function::none &&
         args.norm == Rows::Norm::layer && out.f32 != nullptr && out.f16 == nullptr &&
         out.i8 != nullptr && out.fixed_scale > 0.0f;
}
/// The same arguments, of which the compiler knows what is_plain() says: short code. Where rows are
/// few, each instruction is fetched more often than it is executed.
template <bool kPlain>
__device__ Rows::Args known(Rows::Args args) {
  if constexpr (kPlain) {
    args.norm = Rows::Norm::layer;
    args.function = Function::none;
    args.row_of = nullptr;
    args.src.f16 = nullptr;
    args.src_columns = args.columns;
    args.first_column = 0;
    args.addend = {};
    args.dst.f16 = nullptr;
    assume(args.dst.f32 != nullptr && args.dst.i8 != nullptr && args.dst.fixed_scale > 0.0f);
  }
  return args;
}

/// A row is in registers from the first read to the last write.
template <Rows::Source kSource, class R, bool kPlain>
__global__ void __launch_bounds__(R::kThreads, R::kWarps == 1 ? kBlocks : 1)
    rows_kernel(const __grid_constant__ Rows::Args all) {
  let_next_grid_start();
  const Rows::Args args = known<kPlain>(all);
  const NormColumns<R> norm(args);
  const int count = *args.rows.count;
  auto& shared = *shared_memory<RowShared<R>>();
  if (R::first_row() < count) wait_for_grid_in_front();
  for (int row = R::first_row(); row < count; row += blocks_of<R>(args) * R::kRowsOfBlock) {
    float x[R::kVectors][4];
    read<kSource, R>(x, args, row);
    if (args.function != Function::none) {
#pragma unroll
      for (int v = 0; v < R::kVectors; ++v) {
        apply(args.function, x[v]);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          if (!R::kWhole && R::column(v) + i >= args.columns)
            x[v][i] = 0.0f;  // f(0) may be another
        }
      }
    }
    normalize<R>(x, args, norm, shared);
    write<R>(x, args.dst, row, args.columns, reinterpret_cast<std::uint32_t*>(shared.words));
  }
}

template <Rows::Source kSource, class R, bool kPlain = false>
void launch_rows(const Rows::Args& args, Stream stream) {
  launch(&rows_kernel<kSource, R, kPlain>,
         {.blocks = blocks_of<R>(args),
          .threads = R::kThreads,
          .shared_bytes = sizeof(RowShared<R>),
          .follows_grid = kSource != Rows::Source::embedding},
         stream, args);
}

/// All of a block for a row: the wider it is, the more threads.
template <Rows::Source kSource>
void launch_blocks(const Rows::Args& args, Stream stream) {
  // Padding of i8 rows is written too, and reaches further than the columns.
  const int columns = row_stride(args.columns, 1);
  if (columns <= 1024) return launch_rows<kSource, RowThreads<4, 2, false>>(args, stream);
  if (columns <= 4096) return launch_rows<kSource, RowThreads<8, 4, false>>(args, stream);
  static_assert(kMostRowColumns <= 32 * 32 * 4 * 4);
  launch_rows<kSource, RowThreads<32, 4, false>>(args, stream);
}

/// Norms come twice in a layer, embeddings once in a run.
template <Rows::Source kSource, class R>
void launch_plain_or_any(const Rows::Args& args, Stream stream) {
  if constexpr (kSource == Rows::Source::rows) {
    if (is_plain(args)) return launch_rows<kSource, R, true>(args, stream);
  }
  launch_rows<kSource, R>(args, stream);
}

/// Rows of kVectors times 128 columns: of many rows a warp takes one each, of few a block.
template <Rows::Source kSource, int kVectors>
void launch_usual(const Rows::Args& args, Stream stream) {
  constexpr int kManyRows = 1024;
  if (args.rows.most >= kManyRows)
    return launch_plain_or_any<kSource, RowThreads<1, kVectors, true>>(args, stream);
  launch_plain_or_any<kSource, RowThreads<kVectors, 1, true>>(args, stream);
}

/// The hidden sizes that most models have are known to the compiler.
template <Rows::Source kSource>
void launch_usual_or_blocks(const Rows::Args& args, Stream stream) {
  if (args.first_column % 4 == 0) {
    if (args.columns == 384) return launch_usual<kSource, 3>(args, stream);
    if (args.columns == 768) return launch_usual<kSource, 6>(args, stream);
    if (args.columns == 1024) return launch_usual<kSource, 8>(args, stream);
  }
  launch_blocks<kSource>(args, stream);
}

void run(const Rows::Args& args, Stream stream) {
  switch (args.source) {
    case Rows::Source::rows:
      return launch_usual_or_blocks<Rows::Source::rows>(args, stream);
    case Rows::Source::embedding:
      return launch_usual_or_blocks<Rows::Source::embedding>(args, stream);
    case Rows::Source::mean:
      return launch_blocks<Rows::Source::mean>(args, stream);
  }
}

}  // namespace

extern const Kernel<Rows> rows_block{"rows_block", 80, &run};

}  // namespace rtai::cuda::RTAI_GRID
