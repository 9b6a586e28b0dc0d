// Memory that betrays a kernel which leaves it: unreadable pages lie on both sides, and what is
// between the data and those pages holds a pattern that must survive.
#pragma once

#include "runtime/base/checked.h"
#include "runtime/base/dtype.h"

#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

namespace rtai::test {

/// What memory that nobody may read or write holds: NaN as a float, -1 as an integer.
inline constexpr std::byte kForbidden{0xff};

/// Bytes that end right before an unreadable page, as far as `alignment` allows.
class GuardedMemory {
 public:
  GuardedMemory(std::size_t bytes, std::size_t alignment);
  GuardedMemory(GuardedMemory&& other) noexcept;
  GuardedMemory& operator=(GuardedMemory&& other) noexcept;
  GuardedMemory(const GuardedMemory&) = delete;
  GuardedMemory& operator=(const GuardedMemory&) = delete;
  ~GuardedMemory();

  std::byte* data() const { return data_; }
  std::size_t size() const { return bytes_; }

  /// True if every byte between the data and the unreadable pages still holds the pattern.
  bool is_intact() const;

 private:
  std::byte* mapping_ = nullptr;
  std::size_t mapping_bytes_ = 0;
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

/// Rows of T of which only the first `columns` may be touched; the last row ends there.
template <class T>
class GuardedRows {
 public:
  /// stride 0: the same as columns.
  GuardedRows(Index rows, Index columns, Index stride = 0, std::size_t alignment = alignof(T))
      : rows_(rows),
        columns_(columns),
        stride_(stride == 0 ? columns : stride),
        memory_(static_cast<std::size_t>((rows - 1) * stride_ + columns) * sizeof(T), alignment) {
    std::memset(memory_.data(), std::to_integer<int>(kForbidden), memory_.size());
  }

  T* data() const { return reinterpret_cast<T*>(memory_.data()); }
  T* row(Index r) const { return data() + r * stride_; }
  std::span<T> row_span(Index r) const { return {row(r), static_cast<std::size_t>(columns_)}; }
  Index rows() const { return rows_; }
  Index columns() const { return columns_; }
  Index stride() const { return stride_; }

  /// True if nothing outside [rows, columns] was written.
  bool is_intact() const {
    for (Index r = 0; r + 1 < rows_; ++r) {
      const auto* gap = reinterpret_cast<const std::byte*>(row(r) + columns_);
      const auto bytes = static_cast<std::size_t>(stride_ - columns_) * sizeof(T);
      for (const std::byte b : std::span(gap, bytes)) {
        if (b != kForbidden) return false;
      }
    }
    return memory_.is_intact();
  }

  /// [rows, columns] without gaps.
  std::vector<T> values() const {
    std::vector<T> all;
    for (Index r = 0; r < rows_; ++r)
      all.insert(all.end(), row(r), row(r) + columns_);
    return all;
  }

 private:
  Index rows_;
  Index columns_;
  Index stride_;
  GuardedMemory memory_;
};

}  // namespace rtai::test
