// device.cuh on the host: the instructions of a warp as functions of this emulation.
//
// Layouts of fragments are those of the PTX manual, sections on mma.m16n8k32, mma.m16n8k16 and
// ldmatrix. g = lane / 4, t = lane % 4:
//   A  register i: row g + 8 (i % 2), bytes 4 t + 16 (i / 2) .. + 3 of 32
//   B  register i: column g, bytes 4 t + 16 i .. + 3 of 32
//   C  value i: row g + 8 (i / 2), column 2 t + i % 2
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/cuda/emulation/grid.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>

#define __global__
#define __device__
#define RTAI_NOINLINE __attribute__((noinline))
#define __launch_bounds__(...)
#define __grid_constant__
#define RTAI_GRID host

namespace rtai::cuda::host {

/// Grids run when they are launched.
template <class Args>
void launch(void (*kernel)(Args), const LaunchShape& shape, void* /*stream*/, const Args& args) {
  run_grid(shape, [&] { kernel(args); });
}

/// Few, so that blocks that stay have several tiles.
inline int multiprocessors() {
  return 2;
}

[[noreturn]] inline void fail_launch() {
  std::abort();
}

struct F16 {
  std::uint16_t bits;
};
inline F16 to_f16(float value) {
  return {f32_to_f16(value)};
}
inline float to_f32(F16 value) {
  return f16_to_f32(value.bits);
}

/// Grids run one after the other here.
inline void let_next_grid_start() {}
inline void wait_for_grid_in_front() {}

template <class T>
T* shared_memory() {
  return reinterpret_cast<T*>(shared_bytes());
}

template <class T>
struct Shuffled {
  T value;
  T result;
  int mask;
};

template <class T>
T shuffle_xor(T value, int mask) {
  Shuffled<T> lane{value, {}, mask};
  together(
      [](void* const* lanes) {
        for (int i = 0; i < 32; ++i) {
          auto* self = static_cast<Shuffled<T>*>(lanes[i]);
          self->result = static_cast<Shuffled<T>*>(lanes[i ^ self->mask])->value;
        }
      },
      &lane);
  return lane.result;
}

inline void assume(bool) {}
/// What all lanes have.
inline int uniform(int value) {
  return value;
}

inline void sync_warp() {
  together([](void* const*) {}, nullptr);
}

inline void copy_async16(void* shared, const void* global, bool valid) {
  copy_async(shared, global, 16, valid);
}
template <int kGroupsLeft>
void wait_copies() {
  wait_copies(kGroupsLeft);
}

struct MatrixRow {
  const std::byte* address;
  std::uint32_t* result;
};

/// Four 8 x 8 matrices of 16-bit elements; lane 8 i + r names row r of matrix i.
inline void load_matrices(std::uint32_t (&result)[4], const void* row) {
  check_shared(row, 16, 16);
  MatrixRow lane{static_cast<const std::byte*>(row), result};
  together(
      [](void* const* lanes) {
        for (int l = 0; l < 32; ++l) {
          for (int i = 0; i < 4; ++i) {
            const auto* from = static_cast<MatrixRow*>(lanes[8 * i + l / 4]);
            std::memcpy(&static_cast<MatrixRow*>(lanes[l])->result[i], from->address + 4 * (l % 4),
                        4);
          }
        }
      },
      &lane);
}

/// The same, each matrix transposed.
inline void load_matrices_transposed(std::uint32_t (&result)[4], const void* row) {
  check_shared(row, 16, 16);
  MatrixRow lane{static_cast<const std::byte*>(row), result};
  together(
      [](void* const* lanes) {
        for (int l = 0; l < 32; ++l) {
          for (int i = 0; i < 4; ++i) {
            for (int e = 0; e < 2; ++e) {
              const auto* from = static_cast<MatrixRow*>(lanes[8 * i + 2 * (l % 4) + e]);
              auto* to =
                  reinterpret_cast<std::byte*>(&static_cast<MatrixRow*>(lanes[l])->result[i]);
              std::memcpy(to + 2 * e, from->address + 2 * (l / 4), 2);
            }
          }
        }
      },
      &lane);
}

template <class C>
struct Fragment {
  C* c;
  const std::uint32_t* a;
  std::uint32_t b[2];
};

inline std::int32_t widen(std::int8_t x) {
  return x;
}
inline std::int32_t widen(std::uint8_t x) {
  return x;
}
inline float widen(F16 x) {
  return to_f32(x);
}

/// C += A B for element types A and B, 32 bytes of each row and column.
template <class C, class A, class B>
void multiply_tile(void* const* lanes) {
  constexpr int kDepth = 32 / sizeof(A);
  constexpr int kPart = 4 / sizeof(A);  // elements of a register
  C a[16][kDepth];
  C b[8][kDepth];
  for (int l = 0; l < 32; ++l) {
    const auto* lane = static_cast<Fragment<C>*>(lanes[l]);
    for (int i = 0; i < 4; ++i) {
      const auto elements = std::bit_cast<std::array<A, kPart>>(lane->a[i]);
      for (int e = 0; e < kPart; ++e)
        a[l / 4 + 8 * (i % 2)][kPart * (l % 4) + kDepth / 2 * (i / 2) + e] =
            widen(elements[static_cast<std::size_t>(e)]);
    }
    for (int i = 0; i < 2; ++i) {
      const auto elements = std::bit_cast<std::array<B, kPart>>(lane->b[i]);
      for (int e = 0; e < kPart; ++e)
        b[l / 4][kPart * (l % 4) + kDepth / 2 * i + e] =
            widen(elements[static_cast<std::size_t>(e)]);
    }
  }
  for (int l = 0; l < 32; ++l) {
    C* c = static_cast<Fragment<C>*>(lanes[l])->c;
    for (int i = 0; i < 4; ++i) {
      for (int k = 0; k < kDepth; ++k)
        c[i] += a[l / 4 + 8 * (i / 2)][k] * b[2 * (l % 4) + i % 2][k];
    }
  }
}

template <class C, class A, class B>
void multiply(C (&c)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1) {
  Fragment<C> lane{c, a, {b0, b1}};
  together(&multiply_tile<C, A, B>, &lane);
}

/// s8 x s8, 16 x 8 x 32.
inline void multiply_add(std::int32_t (&c)[4],
                         const std::uint32_t (&a)[4],
                         std::uint32_t b0,
                         std::uint32_t b1) {
  multiply<std::int32_t, std::int8_t, std::int8_t>(c, a, b0, b1);
}
/// u8 x s8, 16 x 8 x 32.
inline void multiply_add_u8(std::int32_t (&c)[4],
                            const std::uint32_t (&a)[4],
                            std::uint32_t b0,
                            std::uint32_t b1) {
  multiply<std::int32_t, std::uint8_t, std::int8_t>(c, a, b0, b1);
}
/// f16 x f16 in f32, 16 x 8 x 16.
inline void multiply_add(float (&c)[4],
                         const std::uint32_t (&a)[4],
                         std::uint32_t b0,
                         std::uint32_t b1) {
  multiply<float, F16, F16>(c, a, b0, b1);
}

/// Byte i of the result is byte (selector >> 4 i) % 8 of b, a.
inline std::uint32_t permute_bytes(std::uint32_t a, std::uint32_t b, std::uint32_t selector) {
  const std::uint64_t both = std::uint64_t{b} << 32 | a;
  std::uint32_t result = 0;
  for (int i = 0; i < 4; ++i)
    result |= static_cast<std::uint32_t>(both >> 8 * (selector >> 4 * i & 7) & 0xff) << 8 * i;
  return result;
}

inline std::uint32_t atomic_max(std::uint32_t* address, std::uint32_t value) {
  return std::exchange(*address, std::max(*address, value));
}
inline int atomic_add(int* address, int value) {
  return std::exchange(*address, *address + value);
}
inline std::uint32_t atomic_or(std::uint32_t* address, std::uint32_t value) {
  return std::exchange(*address, *address | value);
}
/// After what this thread wrote, for whoever reads the sum with load_acquire.
inline void add_release(int* address, int value) {
  *address += value;
}
inline int load_acquire(const int* address) {
  return *address;
}
/// Not from a cache that other blocks' writes do not reach.
inline std::uint32_t load_fresh(const std::uint32_t* address) {
  return *address;
}

inline float load_fresh(const float* address) {
  return *address;
}

inline std::uint32_t float_bits(float value) {
  return std::bit_cast<std::uint32_t>(value);
}
inline float bits_float(std::uint32_t bits) {
  return std::bit_cast<float>(bits);
}
inline float fma_f32(float a, float b, float c) {
  return std::fma(a, b, c);
}
inline float divide(float a, float b) {
  return a / b;
}
inline float square_root(float x) {
  return std::sqrt(x);
}
/// To the nearest integer, ties to even; x is in range.
inline int nearest_int(float x) {
  return static_cast<int>(std::nearbyint(x));
}
/// Not a number if one of them is not.
inline float min_or_nan(float a, float b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<float>::quiet_NaN() : std::fmin(a, b);
}
inline float max_or_nan(float a, float b) {
  return std::isnan(a) || std::isnan(b) ? std::numeric_limits<float>::quiet_NaN() : std::fmax(a, b);
}
/// The nearest integers, ties to even, as bytes from the lowest on; what is beyond them becomes the
/// last of them, and what is not a number 0.
template <class Byte>
std::uint32_t to_bytes(const std::array<float, 4>& x) {
  std::uint32_t bytes = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    using Limits = std::numeric_limits<Byte>;
    const float near = std::isnan(x[i]) ? 0.0f : std::nearbyint(x[i]);
    const float within = std::clamp<float>(near, Limits::min(), Limits::max());
    bytes |= std::uint32_t{std::bit_cast<std::uint8_t>(static_cast<Byte>(within))} << 8 * i;
  }
  return bytes;
}
inline std::uint32_t to_s8(float a, float b, float c, float d) {
  return to_bytes<std::int8_t>({a, b, c, d});
}
inline std::uint32_t to_u8(float a, float b, float c, float d) {
  return to_bytes<std::uint8_t>({a, b, c, d});
}

}  // namespace rtai::cuda::host
