// Four neighbours of a row, read and written at once where their address allows it.
#pragma once

#include "runtime/cuda/device.cuh"
#include "runtime/cuda/ops.h"

namespace rtai::cuda::RTAI_GRID {

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T values[4];
};

template <class T>
__device__ Four<T> all_four(T value) {
  return {{value, value, value, value}};
}

__device__ inline Four<std::uint16_t> to_f16(const Four<float>& four) {
  Four<std::uint16_t> halves;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    halves.values[i] = to_f16(four.values[i]).bits;
  return halves;
}

/// The first four of `count` elements, zeros where there are fewer. kWhole: there are four, and
/// they are aligned.
template <bool kWhole = false, class T>
__device__ Four<T> load_four(const T* src, int count) {
  if constexpr (kWhole) return *reinterpret_cast<const Four<T>*>(src);
  if (count >= 4 && reinterpret_cast<std::uintptr_t>(src) % sizeof(Four<T>) == 0)
    return *reinterpret_cast<const Four<T>*>(src);
  Four<T> four;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    four.values[i] = i < count ? src[i] : T{};
  return four;
}

/// Four of row `row`, from `column` of `columns` on, of which `count` are wanted.
template <bool kWhole = false>
__device__ Four<float> load_four(
    const RowsIn& rows, std::int64_t row, int columns, int column, int count) {
  if (rows.f16 == nullptr)
    return load_four<kWhole>(rows.f32 + row * row_stride(columns, 4) + column, count);
  const auto halves = load_four<kWhole>(rows.f16 + row * row_stride(columns, 2) + column, count);
  Four<float> four;
#pragma unroll
  for (int i = 0; i < 4; ++i)
    four.values[i] = to_f32(F16{halves.values[i]});
  return four;
}

/// As many of them as exist.
template <bool kWhole = false, class T>
__device__ void store_four(T* dst, const Four<T>& four, int count) {
  if (kWhole || (count >= 4 && reinterpret_cast<std::uintptr_t>(dst) % sizeof(Four<T>) == 0)) {
    *reinterpret_cast<Four<T>*>(dst) = four;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) dst[i] = four.values[i];
    }
  }
}

/// The same of four bytes in a word.
template <bool kWhole = false>
__device__ void store_four_bytes(std::int8_t* dst, std::uint32_t word, int count) {
  if (kWhole || (count >= 4 && reinterpret_cast<std::uintptr_t>(dst) % sizeof(word) == 0)) {
    *reinterpret_cast<std::uint32_t*>(dst) = word;
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i < count) dst[i] = static_cast<std::int8_t>(word >> 8 * i);
    }
  }
}

}  // namespace rtai::cuda::RTAI_GRID
