// The one matrix product that all contractions come down to.
#pragma once

#include "runtime/base/dtype.h"

#include <algorithm>
#include <array>
#include <vector>

namespace rtai::reference {

/// A matrix inside a larger tensor: element (i, j) is data[i * row_step + j * column_step].
template <class T>
struct Strided {
  const T* data = nullptr;
  Index row_step = 0;
  Index column_step = 0;
};

namespace detail {

constexpr Index kTileRows = 4;
constexpr Index kTileColumns = 8;  // 4 x 8 sums stay in registers with the 16 that SSE has

/// sums[r, c] = sum over p of a[r, p] * panel[p, c], in the order of p whatever the tile.
template <class T, Index kRows>
void multiply_tile(const Strided<T>& a, const T* panel, Index k, T* sums) {
  std::array<T, kRows * kTileColumns> tile{};
  for (Index p = 0; p < k; ++p) {
    for (Index r = 0; r < kRows; ++r) {
      const T x = a.data[r * a.row_step + p * a.column_step];
      for (Index c = 0; c < kTileColumns; ++c) {
        tile[static_cast<std::size_t>(r * kTileColumns + c)] += x * panel[p * kTileColumns + c];
      }
    }
  }
  std::copy(tile.begin(), tile.end(), sums);
}

}  // namespace detail

/// dst[i, j] = sum over p of a[i, p] * b[p, j]
///
/// Shapes: a [m, k], b [k, n], dst [m, n] with rows dst_step apart.
/// Each sum is taken in T, in the order of p: it does not depend on m or n.
template <class T>
void multiply(Strided<T> a, Strided<T> b, Index m, Index n, Index k, T* dst, Index dst_step) {
  using detail::kTileColumns;
  using detail::kTileRows;
  std::vector<T> panel(static_cast<std::size_t>(k * kTileColumns));  // columns of b side by side
  std::array<T, kTileRows * kTileColumns> sums{};
  for (Index j = 0; j < n; j += kTileColumns) {
    const Index columns = std::min(kTileColumns, n - j);
    for (Index p = 0; p < k; ++p) {
      for (Index c = 0; c < columns; ++c) {
        panel[static_cast<std::size_t>(p * kTileColumns + c)] =
            b.data[p * b.row_step + (j + c) * b.column_step];
      }
    }
    for (Index i = 0; i < m; i += kTileRows) {
      const Index rows = std::min(kTileRows, m - i);
      const auto tile_at = [&](Index r) {
        return Strided<T>{a.data + (i + r) * a.row_step, a.row_step, a.column_step};
      };
      if (rows == kTileRows) {
        detail::multiply_tile<T, kTileRows>(tile_at(0), panel.data(), k, sums.data());
      } else {
        for (Index r = 0; r < rows; ++r) {
          detail::multiply_tile<T, 1>(tile_at(r), panel.data(), k, sums.data() + r * kTileColumns);
        }
      }
      for (Index r = 0; r < rows; ++r) {
        std::copy_n(sums.data() + r * kTileColumns, columns, dst + (i + r) * dst_step + j);
      }
    }
  }
}

}  // namespace rtai::reference
