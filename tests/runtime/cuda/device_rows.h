// Tensors as GPU kernels have them: rows that begin at multiples of 128 bytes, between guard pages.
#pragma once

#include "runtime/cuda/emulation/grid.h"
#include "runtime/cuda/ops.h"
#include "tests/support/guarded.h"
#include "tests/support/random.h"

#include <algorithm>
#include <string>
#include <vector>

namespace rtai::test {

template <class T>
class DeviceRows {
 public:
  DeviceRows(int rows, int columns)
      : columns_(columns),
        memory_(rows, cuda::row_stride(columns, sizeof(T)), 0, cuda::kRowAlignment) {}

  T* data() const { return memory_.data(); }
  T& at(int row, int column) const { return memory_.row(row)[column]; }
  int rows() const { return static_cast<int>(memory_.rows()); }
  int columns() const { return columns_; }
  bool is_intact() const { return memory_.is_intact(); }
  int stride() const { return static_cast<int>(memory_.stride()); }

  /// What lies between the columns and the next row.
  bool has_zero_padding() const {
    for (int r = 0; r < rows(); ++r) {
      for (int c = columns_; c < stride(); ++c)
        if (at(r, c) != T{0}) return false;
    }
    return true;
  }
  void clear_padding() const {
    for (int r = 0; r < rows(); ++r)
      std::fill(&at(r, columns_), &at(r, 0) + stride(), T{0});
  }
  /// Without padding.
  std::vector<T> values() const {
    std::vector<T> all;
    for (int r = 0; r < rows(); ++r)
      all.insert(all.end(), &at(r, 0), &at(r, 0) + columns_);
    return all;
  }

 private:
  int columns_;
  GuardedRows<T> memory_;
};

inline void fill(const DeviceRows<float>& rows, Random& random, float low, float high) {
  for (int r = 0; r < rows.rows(); ++r)
    random.fill({&rows.at(r, 0), static_cast<std::size_t>(rows.columns())}, low, high);
}

/// `rows` in 16 bits, to which it is rounded itself.
inline DeviceRows<std::uint16_t> round_to_halves(const DeviceRows<float>& rows) {
  DeviceRows<std::uint16_t> halves(rows.rows(), rows.columns());
  for (int r = 0; r < rows.rows(); ++r) {
    for (int i = 0; i < rows.columns(); ++i) {
      halves.at(r, i) = f32_to_f16(rows.at(r, i));
      rows.at(r, i) = f16_to_f32(halves.at(r, i));
    }
  }
  return halves;
}

/// Orders of threads and moments of copies under which a result must be the same.
inline constexpr cuda::host::Schedule kSchedules[] = {
    {cuda::host::Schedule::Order::forward, cuda::host::Schedule::Copies::at_wait},
    {cuda::host::Schedule::Order::backward, cuda::host::Schedule::Copies::at_once},
    {cuda::host::Schedule::Order::shuffled, cuda::host::Schedule::Copies::at_wait}};

/// The first fault of the grids run since the last call; empty: none.
inline std::string first_fault() {
  const auto faults = cuda::host::take_faults();
  return faults.empty() ? std::string() : faults.front();
}

/// A count in device memory.
struct DeviceCount {
  explicit DeviceCount(int value) : memory(1, 1) { memory.data()[0] = value; }
  cuda::RowCount bound(int most) const { return {memory.data(), most}; }
  GuardedRows<int> memory;
};

/// Where blocks meet, cleared.
struct DeviceTeam {
  explicit DeviceTeam(int rows) : absmax(1, rows), arrived(1, rows), ticket(1, 1) {
    std::fill_n(absmax.data(), rows, 0u);
    std::fill_n(arrived.data(), rows, 0);
    ticket.data()[0] = 0;
  }
  cuda::RowTeam view(bool tickets) const {
    return {absmax.data(), arrived.data(), tickets ? ticket.data() : nullptr};
  }
  GuardedRows<std::uint32_t> absmax;
  GuardedRows<int> arrived;
  GuardedRows<int> ticket;
};

}  // namespace rtai::test
