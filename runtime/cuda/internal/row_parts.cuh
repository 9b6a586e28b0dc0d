// Mean and variance of a row from what parts of 64 columns know of theirs, always added in the same
// order: a row has the same norm whichever kernel computes it, and whatever else is in the batch.
//
// Of a part, four lanes t have the columns 16 q + 4 t + i of the same i and q from 0 to 3. Sums are
// over i, as (0 + 1) + (2 + 3), over q likewise, then over t.
#pragma once

#include "runtime/cuda/device.cuh"
#include "runtime/cuda/internal/numbers.cuh"

namespace rtai::cuda::RTAI_GRID {

inline constexpr int kPartColumns = 64;

/// A part's sum, and its squared distances from its own mean.
struct RowPart {
  float sum;
  float squares;
};
__device__ inline std::uint64_t to_word(const RowPart& part) {
  return float_bits(part.sum) | static_cast<std::uint64_t>(float_bits(part.squares)) << 32;
}
__device__ inline RowPart to_part(std::uint64_t word) {
  return {bits_float(static_cast<std::uint32_t>(word)),
          bits_float(static_cast<std::uint32_t>(word >> 32))};
}

__device__ inline float add_four(float a, float b, float c, float d) {
  return (a + b) + (c + d);
}
__device__ inline float square(float x) {
  return x * x;
}

/// Columns of part `part` that exist.
__device__ inline int part_columns(int part, int columns) {
  const int left = columns - part * kPartColumns;
  return left < kPartColumns ? left : kPartColumns;
}
/// Of a whole part without a division, which gives the same.
__device__ inline float part_mean(float sum, int columns) {
  if (columns == kPartColumns) return sum * (1.0f / kPartColumns);
  return divide(sum, static_cast<float>(columns));
}

/// (x - mean) * inverse is x, normalized.
struct RowNorm {
  float mean;
  float inverse;
};

/// From all parts (Chan, Golub, LeVeque 1979). `part_of(i)`: part i. kCount: how many, if that is
/// known and all are whole. Parts are read several at once; one that does not exist adds zeros.
template <int kCount, class PartOf>
__device__ RowNorm norm_of_parts(int columns, float epsilon, PartOf&& part_of) {
  constexpr int kAtOnce = kCount > 0 ? kCount : 16;
  const int parts = kCount > 0 ? kCount : div_up(columns, kPartColumns);
  const auto count = static_cast<float>(columns);
  const auto add_parts = [&](auto&& value_of) {
    float sum = 0.0f;
    for (int first = 0; first < parts; first += kAtOnce) {
      RowPart some[kAtOnce];
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        some[i] = first + i < parts ? part_of(first + i) : RowPart{0.0f, 0.0f};
#pragma unroll
      for (int i = 0; i < kAtOnce; ++i)
        sum += first + i < parts ? value_of(first + i, some[i]) : 0.0f;
    }
    return sum;
  };
  const float mean = divide(add_parts([](int, const RowPart& part) { return part.sum; }), count);
  const float squares = add_parts([&](int i, const RowPart& part) {
    const int own = kCount > 0 ? kPartColumns : part_columns(i, columns);
    return fma_f32(square(part_mean(part.sum, own) - mean), static_cast<float>(own), part.squares);
  });
  return {mean, divide(1.0f, square_root(divide(squares, count) + epsilon))};
}

}  // namespace rtai::cuda::RTAI_GRID
