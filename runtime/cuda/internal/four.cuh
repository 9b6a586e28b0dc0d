// Four neighbours of a row, read and written at once where their address allows it.
#pragma once

#include "runtime/cuda/device.cuh"

namespace rtai::cuda::RTAI_GRID {

template <class T>
struct alignas(4 * sizeof(T)) Four {
  T values[4];
};

template <class T>
__device__ Four<T> all_four(T value) {
  return {{value, value, value, value}};
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

/// As many of them as exist.
template <bool kWhole = false, class T>
__device__ void store_four(T* dst, const Four<T>& four, int count) {
  if constexpr (kWhole) {
    *reinterpret_cast<Four<T>*>(dst) = four;
    return;
  }
  if (count >= 4 && reinterpret_cast<std::uintptr_t>(dst) % sizeof(Four<T>) == 0) {
    *reinterpret_cast<Four<T>*>(dst) = four;
    return;
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    if (i < count) dst[i] = four.values[i];
  }
}

}  // namespace rtai::cuda::RTAI_GRID
