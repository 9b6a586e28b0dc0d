// hopper.cuh on the host. Copies take place when their barrier is waited for, or at once
// (Schedule::Copies); products at once. Layouts: PTX manual, wgmma, fragments of m64nNk32 and
// m64nNk16.
#pragma once

#include "runtime/cuda/hopper.cuh"
#include "runtime/cuda/ops.h"

#define RTAI_HAS_WGMMA 1

namespace rtai::cuda::host {

struct TileSource {
  const std::byte* matrix = nullptr;
  int rows = 0;
  int row_bytes = 0;
  int tile_rows = 0;
  WeightOrder order = {};
};
inline bool make_src_source(
    TileSource& source, const void* src, int rows, int row_bytes, int tile_rows) {
  source = {static_cast<const std::byte*>(src), rows, row_bytes, tile_rows};
  return true;
}
inline bool make_weight_source(TileSource& source,
                               const void* weight,
                               int columns,
                               int row_bytes,
                               int tile_columns,
                               WeightOrder order) {
  source = {static_cast<const std::byte*>(weight), round_up(columns, kWeightRows), row_bytes,
            tile_columns, order};
  return true;
}

/// Completes a phase when all have arrived and all announced bytes are there.
struct Barrier {
  std::int16_t arrivals;  // of a phase
  std::int16_t missing;
  // Bytes to come, twice, and whether an odd number of phases is done.
  std::int32_t bytes_and_phase;
};

inline void init_barrier(Barrier* barrier, int arrivals) {
  check_shared(barrier, sizeof(Barrier), sizeof(Barrier));
  *barrier = {static_cast<std::int16_t>(arrivals), static_cast<std::int16_t>(arrivals), 0};
}
inline void publish_barriers() {}

inline void complete_if_all_came(Barrier* barrier) {
  if (barrier->missing != 0 || barrier->bytes_and_phase / 2 != 0) return;
  barrier->missing = barrier->arrivals;
  barrier->bytes_and_phase ^= 1;
  note_event();
}
inline void arrive(Barrier* barrier) {
  if (barrier->missing-- <= 0) fail("more arrivals at a barrier than it is for");
  complete_if_all_came(barrier);
}
inline void arrive_and_expect(Barrier* barrier, int bytes) {
  barrier->bytes_and_phase += 2 * bytes;
  arrive(barrier);
}
inline void wait_for_phase(Barrier* barrier, int parity) {
  while ((barrier->bytes_and_phase & 1) == parity) {
    if (!perform_deferred(barrier)) pause();
  }
}

/// `row_of(i)`: the row of the matrix that comes as row i of the tile.
template <class RowOf>
void copy_rows_of_tile(
    void* shared, const TileSource& source, int byte, Barrier* barrier, RowOf&& row_of) {
  constexpr int kChunk = 16;
  check_shared(shared, static_cast<std::size_t>(source.tile_rows) * kRowAlignment, kChunk);
  defer(barrier, [=] {
    for (int i = 0; i < source.tile_rows; ++i) {
      auto* dst = static_cast<std::byte*>(shared) + i * kRowAlignment;
      const int row = row_of(i);
      for (int chunk = 0; chunk < kRowAlignment / kChunk; ++chunk) {
        std::byte* to = dst + ((chunk ^ (i & 7)) * kChunk);
        if (row < source.rows) {
          std::memcpy(to,
                      source.matrix + std::int64_t{row} * source.row_bytes + byte + chunk * kChunk,
                      kChunk);
        } else {
          std::memset(to, 0, kChunk);
        }
      }
    }
    barrier->bytes_and_phase -= 2 * source.tile_rows * kRowAlignment;
    complete_if_all_came(barrier);
  });
}
inline void copy_src(void* shared, const TileSource& source, int byte, int row, Barrier* barrier) {
  copy_rows_of_tile(shared, source, byte, barrier, [row](int i) { return row + i; });
}
inline void copy_weight(
    void* shared, const TileSource& source, int byte, int stretch, Barrier* barrier) {
  const bool sixteens = source.order == WeightOrder::sixteens;
  copy_rows_of_tile(shared, source, byte, barrier, [sixteens, stretch](int i) {
    const int j = i % 64 / 8;
    const int t = i % 8 / 2;
    const int first = stretch * (sixteens ? 64 : 16) + i / 64 * 64;
    return first + i % 2 + (sixteens ? 16 * t + 2 * j : 16 * (j / 2) + 4 * t + 2 * (j % 2));
  });
}

template <int kRegisters>
void take_registers() {}
template <int kRegisters>
void give_registers() {}

/// An address, as GPUs have it in a word of their own.
using Described = std::uint64_t;
inline Described describe_rows(const void* shared) {
  return reinterpret_cast<std::uint64_t>(shared);
}
inline Described at_byte(Described rows, int byte) {
  return rows + static_cast<std::uint64_t>(byte);
}

inline void begin_products() {}
inline void commit_products() {}
/// The lanes of a warp multiply together.
template <int kGroupsLeft>
void wait_products() {
  sync_warp();
}
template <class Sum, int kN>
void settle(Sum (&)[kN][4]) {}

/// The 32 bytes at `described` of row `row`, as numbers.
template <class Element>
auto elements_of(std::uint64_t described, int row) {
  // Rows begin at multiples of 128 from the tile's, which is a multiple of 1024 from the first byte
  // of shared memory.
  const std::byte* begin = shared_bytes();
  const std::uint64_t offset = described - reinterpret_cast<std::uint64_t>(begin);
  const auto first = static_cast<int>(offset % kRowAlignment);
  const std::byte* bytes = begin + (offset - offset % kRowAlignment) + row * kRowAlignment;
  check_shared(bytes, kRowAlignment, 16);
  std::array<Element, 32 / sizeof(Element)> elements;
  for (int half = 0; half < 2; ++half) {
    std::memcpy(reinterpret_cast<std::byte*>(elements.data()) + 16 * half,
                bytes + (((first / 16 + half) ^ (row & 7)) << 4), 16);
  }
  std::array<decltype(widen(elements[0])), 32 / sizeof(Element)> numbers;
  std::transform(elements.begin(), elements.end(), numbers.begin(),
                 [](Element element) { return widen(element); });
  return numbers;
}

template <class Element, class Sum, int kN>
void multiply_lane(Sum (&sums)[kN][4], std::uint64_t a, std::uint64_t b, bool keep) {
  const int lane = thread_index() % 32;
  const int first_row = thread_index() / 32 % 4 * 16 + lane / 4;
  const auto row0 = elements_of<Element>(a, first_row);
  const auto row1 = elements_of<Element>(a, first_row + 8);
  for (int n = 0; n < kN; ++n) {
    for (int e = 0; e < 2; ++e) {
      const auto column = elements_of<Element>(b, 8 * n + 2 * (lane % 4) + e);
      Sum sum0 = keep ? sums[n][e] : 0;
      Sum sum1 = keep ? sums[n][2 + e] : 0;
      for (std::size_t k = 0; k < column.size(); ++k) {
        sum0 += row0[k] * column[k];
        sum1 += row1[k] * column[k];
      }
      sums[n][e] = sum0;
      sums[n][2 + e] = sum1;
    }
  }
}
template <int kN>
void multiply_group(std::int32_t (&sums)[kN][4], std::uint64_t a, std::uint64_t b, bool keep) {
  multiply_lane<std::int8_t>(sums, a, b, keep);
}
template <int kN>
void multiply_group(float (&sums)[kN][4], std::uint64_t a, std::uint64_t b, bool keep) {
  multiply_lane<F16>(sums, a, b, keep);
}

}  // namespace rtai::cuda::host
