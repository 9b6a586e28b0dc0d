// Walking over tensors: strides, broadcasting, and rows of elements a constant step apart.
#pragma once

#include "libopt/ir/tensor.h"
#include "libopt/reference/internal/call.h"

#include <array>
#include <functional>
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

/// Calls f(row) for every row of `dims` in row-major order; `strides` has those of N operands, 1
/// to 3.
///
/// `f` is no template parameter: what calls this is compiled for many element types, the walk once.
template <std::size_t N>
void for_each_row(const ir::Dims& dims,
                  const std::array<ir::Dims, N>& strides,
                  const std::function<void(const Row<N>&)>& f);

/// How two operands are walked over together.
struct PairWalk {
  ir::Dims dims;  // both broadcast to
  std::array<ir::Dims, 2> strides;
};
/// Errors: as broadcast.
Result<PairWalk> walk_over(const ir::Tensor& a, const ir::Tensor& b);

/// dst[i] = f(x[i], y[i])
template <class X, class Y, class D, class F>
void fill(const PairWalk& walk, const X* x, const Y* y, D* dst, F f) {
  for_each_row<2>(walk.dims, walk.strides, [&](const Row<2>& row) {
    for (Index i = 0; i < row.count; ++i)
      dst[row.dst + i] = f(x[row.at[0] + i * row.step[0]], y[row.at[1] + i * row.step[1]]);
  });
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
