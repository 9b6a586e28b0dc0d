#include "runtime/cuda/internal/four.cuh"
#include "runtime/cuda/internal/numbers.cuh"
#include "runtime/cuda/kernel.h"

namespace rtai::cuda::RTAI_GRID {
namespace {

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

/// Elements [column, column + 4) of a row, zeros from `columns` on.
__device__ void load_columns(float (&x)[4], const float* row, int column, int columns) {
  const Four<float> four = load_four(row + column, columns - column);
#pragma unroll
  for (int i = 0; i < 4; ++i)
    x[i] = four.values[i];
}

/// Adds a row of a table, as `index` says; an index outside is row 0 and a fault.
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
    load_columns(row, static_cast<const float*>(table.data) + first, column, columns);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[i] += row[i];
    return;
  }
  const auto* row = static_cast<const std::int8_t*>(table.data) + first + column;
  const float scale = table.scale[index];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (column + i < columns) x[i] += static_cast<float>(row[i]) * scale;
  }
}

template <Rows::Source kSource>
__device__ void load_source(float (&x)[4], const Rows::Args& args, int row, int column) {
  const auto src_row = [&](std::int64_t r) {
    return args.src + r * row_stride(args.src_columns, 4) + args.first_column;
  };
  if constexpr (kSource == Rows::Source::rows) {
    load_columns(x, src_row(args.row_of != nullptr ? args.row_of[row] : row), column, args.columns);
  } else if constexpr (kSource == Rows::Source::embedding) {
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[i] = 0.0f;
    add_table_row(x, args.word, args.ids[row], args.fault, column, args.columns);
    add_table_row(x, args.position, args.positions[row], args.fault, column, args.columns);
    add_table_row(x, args.segment, args.segments[row], args.fault, column, args.columns);
  } else {
    const std::int32_t begin = args.offsets[row];
    const std::int32_t end = args.offsets[row + 1];
#pragma unroll
    for (int i = 0; i < 4; ++i)
      x[i] = 0.0f;
    for (std::int32_t r = begin; r < end; ++r) {
      float other[4];
      load_columns(other, src_row(r), column, args.columns);
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

/// The sum over all threads of the block, for all of them.
__device__ float sum_block(float value, float* shared) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2)
    value += shuffle_xor(value, mask);
  if (thread_index() % 32 == 0) shared[thread_index() / 32] = value;
  sync_block();
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kWarps; ++i)
    sum += shared[i];
  sync_block();
  return sum;
}

__device__ std::uint32_t max_block(std::uint32_t value, std::uint32_t* shared) {
#pragma unroll
  for (int mask = 16; mask > 0; mask /= 2)
    value = larger(value, shuffle_xor(value, mask));
  if (thread_index() % 32 == 0) shared[thread_index() / 32] = value;
  sync_block();
  std::uint32_t most = 0;
#pragma unroll
  for (int i = 0; i < kWarps; ++i)
    most = larger(most, shared[i]);
  sync_block();
  return most;
}

/// Calls body(vector, element, column) for the elements of this thread: four neighbours of each
/// 512, so that a warp reads 512 bytes at once.
template <int kVectors, class Body>
__device__ void for_each_element(int columns, Body&& body) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = 4 * (v * kThreads + thread_index()) + i;
      if (column < columns) body(v, i, column);
    }
  }
}

/// What a norm multiplies by and adds, of the columns of this thread: read before the grid in front
/// has ended, as it does not write them. Of wide rows only where it is used: registers are few.
template <int kVectors>
struct NormColumns {
  static constexpr bool kReadsEarly = kVectors <= 2;
  const Rows::Args& args;
  float weight[kReadsEarly ? kVectors : 1][4];
  float bias[kReadsEarly ? kVectors : 1][4];

  __device__ explicit NormColumns(const Rows::Args& of) : args(of) {
    if constexpr (kReadsEarly) {
      if (args.norm != Rows::Norm::layer) return;
#pragma unroll
      for (int v = 0; v < kVectors; ++v) {
        const int column = 4 * (v * kThreads + thread_index());
        load_columns(weight[v], args.weight, column, args.columns);
        load_columns(bias[v], args.bias, column, args.columns);
      }
    }
  }
  __device__ float apply(float x, int v, int i, int column) const {
    if constexpr (kReadsEarly) return x * weight[v][i] + bias[v][i];
    return x * args.weight[column] + args.bias[column];
  }
};

template <int kVectors>
__device__ void normalize(float (&x)[kVectors][4],
                          const Rows::Args& args,
                          const NormColumns<kVectors>& norm,
                          float* shared) {
  if (args.norm == Rows::Norm::none) return;
  float squares = 0.0f;
  if (args.norm == Rows::Norm::l2) {
    for_each_element<kVectors>(args.columns,
                               [&](int v, int i, int) { squares += x[v][i] * x[v][i]; });
    const float inverse = divide(1.0f, fmaxf(square_root(sum_block(squares, shared)), 1e-12f));
    for_each_element<kVectors>(args.columns, [&](int v, int i, int) { x[v][i] *= inverse; });
    return;
  }
  const auto count = static_cast<float>(args.columns);
  float sum = 0.0f;
  for_each_element<kVectors>(args.columns, [&](int v, int i, int) { sum += x[v][i]; });
  const float mean = divide(sum_block(sum, shared), count);
  for_each_element<kVectors>(
      args.columns, [&](int v, int i, int) { squares += (x[v][i] - mean) * (x[v][i] - mean); });
  const float variance = divide(sum_block(squares, shared), count);
  const float inverse = divide(1.0f, square_root(variance + args.epsilon));
  for_each_element<kVectors>(args.columns, [&](int v, int i, int column) {
    x[v][i] = norm.apply((x[v][i] - mean) * inverse, v, i, column);
  });
}

/// Four elements of a row, up to the end of the padding.
template <class T, class Convert>
__device__ void store_four(T* row, int column, int stride, Convert&& convert) {
  if (column >= stride) return;
  Four<T> four;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    four.values[i] = convert(i);
  *reinterpret_cast<Four<T>*>(row + column) = four;
}

template <int kVectors>
__device__ void write(float (&x)[kVectors][4],
                      const RowsOut& out,
                      std::int64_t row,
                      int columns,
                      std::uint32_t* shared) {
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int column = 4 * (v * kThreads + thread_index());
    if (out.f32 != nullptr) {
      const int stride = row_stride(columns, 4);
      store_four(out.f32 + row * stride, column, stride, [&](int i) { return x[v][i]; });
    }
    if (out.f16 != nullptr) {
      const int stride = row_stride(columns, 2);
      store_four(out.f16 + row * stride, column, stride,
                 [&](int i) { return to_f16(x[v][i]).bits; });
    }
  }
  if (out.i8 == nullptr) return;
  if (out.column_factor != nullptr) {
    for_each_element<kVectors>(
        columns, [&](int v, int i, int column) { x[v][i] *= out.column_factor[column]; });
  }
  Quantization q;
  if (out.fixed_scale > 0.0f) {
    q = {out.fixed_scale, divide(1.0f, out.fixed_scale)};
  } else {
    std::uint32_t most = 0;
    for_each_element<kVectors>(
        columns, [&](int v, int i, int) { most = larger(most, magnitude_bits(x[v][i])); });
    q = dynamic_quantization(max_block(most, shared));
  }
  if (thread_index() == 0) out.scale[row] = q.scale;
  const int stride = row_stride(columns, 1);
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    store_four(out.i8 + row * stride, 4 * (v * kThreads + thread_index()), stride, [&](int i) {
      const int column = 4 * (v * kThreads + thread_index()) + i;
      return column < columns ? to_integer(x[v][i] * q.factor) : std::int8_t{0};
    });
  }
}

/// A block computes one row and holds it in registers from the first read to the last write.
template <Rows::Source kSource, int kVectors>
__global__ void __launch_bounds__(kThreads) rows_kernel(const __grid_constant__ Rows::Args args) {
  const int row = block_index();
  let_next_grid_start();
  const NormColumns<kVectors> norm(args);
  if (row >= *args.rows.count) return;
  wait_for_grid_in_front();
  auto* shared = shared_memory<float>();
  float x[kVectors][4];
#pragma unroll
  for (int v = 0; v < kVectors; ++v) {
    const int column = 4 * (v * kThreads + thread_index());
    if (column < args.columns) {
      load_source<kSource>(x[v], args, row, column);
      if (args.addend != nullptr) {
        float other[4];
        load_columns(other,
                     args.addend + static_cast<std::int64_t>(row) * row_stride(args.columns, 4),
                     column, args.columns);
#pragma unroll
        for (int i = 0; i < 4; ++i)
          x[v][i] += other[i];
      }
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i)
        x[v][i] = 0.0f;
    }
  }
  if (args.function != Function::none) {
    for_each_element<kVectors>(args.columns,
                               [&](int v, int i, int) { x[v][i] = apply(args.function, x[v][i]); });
  }
  normalize<kVectors>(x, args, norm, shared);
  write<kVectors>(x, args.dst, row, args.columns, reinterpret_cast<std::uint32_t*>(shared));
}

template <Rows::Source kSource, int kVectors>
void launch_rows(const Rows::Args& args, Stream stream) {
  launch(&rows_kernel<kSource, kVectors>,
         {.blocks = args.rows.most,
          .threads = kThreads,
          .shared_bytes = kWarps * sizeof(float),
          .follows_grid = kSource != Rows::Source::embedding},
         stream, args);
}

/// Registers for as many elements as a thread has of a row: of 384 and 768 columns, 1 and 2
/// times 4.
template <Rows::Source kSource>
void launch_source(const Rows::Args& args, Stream stream) {
  // Padding of i8 rows is written too, and reaches further than the columns.
  const int vectors = div_up(row_stride(args.columns, 1), 4 * kThreads);
  if (vectors <= 1) return launch_rows<kSource, 1>(args, stream);
  if (vectors <= 2) return launch_rows<kSource, 2>(args, stream);
  if (vectors <= 8) return launch_rows<kSource, 8>(args, stream);
  launch_rows<kSource, kMostRowColumns / (4 * kThreads)>(args, stream);
}

void run(const Rows::Args& args, Stream stream) {
  switch (args.source) {
    case Rows::Source::rows:
      return launch_source<Rows::Source::rows>(args, stream);
    case Rows::Source::embedding:
      return launch_source<Rows::Source::embedding>(args, stream);
    case Rows::Source::mean:
      return launch_source<Rows::Source::mean>(args, stream);
  }
}

}  // namespace

extern const Kernel<Rows> rows_block{"rows_block", 80, &run};

}  // namespace rtai::cuda::RTAI_GRID
