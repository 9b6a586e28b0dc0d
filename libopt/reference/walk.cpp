#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::reference {

ir::Dims strides_of(std::span<const Index> dims) {
  ir::Dims strides(dims.size());
  Index stride = 1;
  for (std::size_t i = dims.size(); i-- > 0;) {
    strides[i] = stride;
    stride *= dims[i];
  }
  return strides;
}

Result<ir::Dims> broadcast(std::span<const Index> a, std::span<const Index> b) {
  ir::Dims dims(std::max(a.size(), b.size()), 1);
  for (std::size_t i = 1; i <= dims.size(); ++i) {  // from the last axis
    const Index x = i <= a.size() ? a[a.size() - i] : 1;
    const Index y = i <= b.size() ? b[b.size() - i] : 1;
    if (x != y && x != 1 && y != 1) {
      return invalid_input(
          fmt::format("{} and {} do not broadcast", ir::to_string(a), ir::to_string(b)));
    }
    dims[dims.size() - i] = x == 1 ? y : x;
  }
  return dims;
}

ir::Dims broadcast_strides(std::span<const Index> dims, std::span<const Index> target) {
  const ir::Dims own = strides_of(dims);
  ir::Dims strides(target.size(), 0);
  const std::size_t added = target.size() - dims.size();
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] != 1) strides[added + i] = own[i];
  }
  return strides;
}

template <std::size_t N>
void for_each_row(const ir::Dims& dims,
                  const std::array<ir::Dims, N>& strides,
                  const std::function<void(const Row<N>&)>& f) {
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

template void for_each_row<1>(const ir::Dims&,
                              const std::array<ir::Dims, 1>&,
                              const std::function<void(const Row<1>&)>&);
template void for_each_row<2>(const ir::Dims&,
                              const std::array<ir::Dims, 2>&,
                              const std::function<void(const Row<2>&)>&);
template void for_each_row<3>(const ir::Dims&,
                              const std::array<ir::Dims, 3>&,
                              const std::function<void(const Row<3>&)>&);

Result<PairWalk> walk_over(const ir::Tensor& a, const ir::Tensor& b) {
  RTAI_TRY(ir::Dims dims, broadcast(a.dims(), b.dims()));
  PairWalk walk{.dims = std::move(dims), .strides = {}};
  walk.strides = {broadcast_strides(a.dims(), walk.dims), broadcast_strides(b.dims(), walk.dims)};
  return walk;
}

Result<ir::Tensor> copy_strided(const Call& call,
                                const ir::Tensor& src,
                                const ir::Dims& dims,
                                const ir::Dims& strides,
                                Index offset) {
  RTAI_TRY(ir::Tensor result, call.allocate(src.dtype(), dims));
  with_storage(src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = src.data<T>().data() + offset;
    T* to = result.mutable_data<T>().data();
    for_each_row<1>(dims, {strides}, [&](const Row<1>& row) {
      for (Index i = 0; i < row.count; ++i)
        to[row.dst + i] = from[row.at[0] + i * row.step[0]];
    });
  });
  return result;
}

AxisView around_axis(std::span<const Index> dims, Index axis) {
  const auto at = static_cast<std::size_t>(axis);
  return {
      .outer = product(dims.first(at)), .size = dims[at], .inner = product(dims.subspan(at + 1))};
}

Index product(std::span<const Index> dims) {
  Index result = 1;
  for (const Index dim : dims)
    result *= dim;
  return result;
}

}  // namespace rtai::reference
