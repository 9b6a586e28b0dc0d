// Walking over tensors: strides, broadcasting, and rows of elements a constant step apart.
#pragma once

#include "libopt/ir/tensor.h"
#include "libopt/reference/internal/call.h"

#include <array>
#include <span>

namespace rtai::reference {

/// Row-major strides in elements.
ir::Dims strides_of(std::span<const Index> dims);

/// The dimensions both broadcast to. Errors: invalid_input if they do not.
Result<ir::Dims> broadcast(std::span<const Index> a, std::span<const Index> b);

/// The strides that repeat a tensor of `dims` over `target`, which `dims` broadcasts to.
ir::Dims broadcast_strides(std::span<const Index> dims, std::span<const Index> target);

/// One row of a walk: `count` steps from element `dst` of the walked dimensions on; operand i
/// stands at element at[i] and moves by step[i].
template <std::size_t N>
struct Row {
  Index dst = 0;
  Index count = 0;
  std::array<Index, N> at{};
  std::array<Index, N> step{};
};

/// Calls f(row) for every row of `dims` in row-major order; `strides` has those of N operands.
template <std::size_t N, class F>
void for_each_row(const ir::Dims& dims, const std::array<ir::Dims, N>& strides, F&& f) {
  const std::size_t rank = dims.size();
  Row<N> row;
  row.count = rank == 0 ? 1 : dims[rank - 1];
  for (const Index dim : dims) {
    if (dim == 0) return;
  }
  for (std::size_t i = 0; i < N; ++i)
    row.step[i] = rank == 0 ? 0 : strides[i][rank - 1];

  ir::Dims place(rank, 0);
  while (true) {
    f(row);
    row.dst += row.count;
    std::size_t axis = rank < 2 ? 0 : rank - 1;  // axis - 1 is the one to advance
    for (; axis > 0; --axis) {
      const std::size_t a = axis - 1;
      for (std::size_t i = 0; i < N; ++i)
        row.at[i] += strides[i][a];
      if (++place[a] < dims[a]) break;
      for (std::size_t i = 0; i < N; ++i)
        row.at[i] -= strides[i][a] * dims[a];
      place[a] = 0;
    }
    if (axis == 0) return;
  }
}

/// A new tensor of `dims` whose element at some place is src[offset + place . strides].
Result<ir::Tensor> copy_strided(const Call& call,
                                const ir::Tensor& src,
                                const ir::Dims& dims,
                                const ir::Dims& strides,
                                Index offset);

/// A tensor seen as [outer, size, inner] around one of its axes.
struct AxisView {
  Index outer = 1;
  Index size = 1;
  Index inner = 1;
};
AxisView around_axis(std::span<const Index> dims, Index axis);

/// The product of dims[begin, end), which is known not to overflow.
Index product(std::span<const Index> dims);

}  // namespace rtai::reference
