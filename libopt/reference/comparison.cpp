// Comparisons, logic and choice.
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <algorithm>
#include <cmath>

namespace rtai::reference {
namespace {

using ir::Tensor;

template <class List, class F>
Result<Tensors> compare(const Call& call, List list, F f) {
  const Tensor& a = call[0];
  const Tensor& b = call[1];
  RTAI_TRY_VOID(expect_same_type(a, b));
  RTAI_TRY(const PairWalk walk, walk_over(a, b));
  RTAI_TRY(Tensor result, call.allocate(DType::boolean, walk.dims));
  bool* dst = result.mutable_data<bool>().data();
  RTAI_TRY_VOID(with_type(list, a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    fill(walk, a.data<T>().data(), b.data<T>().data(), dst, f);
  }));
  return one(std::move(result));
}

/// A bool for each element of a tensor of floats.
template <class F>
Result<Tensors> classify(const Call& call, F f) {
  RTAI_TRY(Tensor result, call.allocate(DType::boolean, call[0].dims()));
  const std::span<bool> dst = result.mutable_data<bool>();
  RTAI_TRY_VOID(with_type(Floats{}, call[0].dtype(), [&](auto zero) {
    std::ranges::transform(call[0].data<decltype(zero)>(), dst.begin(), f);
  }));
  return one(std::move(result));
}

}  // namespace

namespace op {

Result<Tensors> equal(const Call& call) {
  return compare(call, NumbersAndBool{}, [](auto a, auto b) { return a == b; });
}

Result<Tensors> less(const Call& call) {
  return compare(call, Numbers{}, [](auto a, auto b) { return a < b; });
}

Result<Tensors> less_or_equal(const Call& call) {
  return compare(call, Numbers{}, [](auto a, auto b) { return a <= b; });
}

Result<Tensors> greater(const Call& call) {
  return compare(call, Numbers{}, [](auto a, auto b) { return a > b; });
}

Result<Tensors> greater_or_equal(const Call& call) {
  return compare(call, Numbers{}, [](auto a, auto b) { return a >= b; });
}

Result<Tensors> logical_and(const Call& call) {
  return compare(call, Types<bool>{}, [](bool a, bool b) { return a && b; });
}

Result<Tensors> logical_or(const Call& call) {
  return compare(call, Types<bool>{}, [](bool a, bool b) { return a || b; });
}

Result<Tensors> logical_xor(const Call& call) {
  return compare(call, Types<bool>{}, [](bool a, bool b) { return a != b; });
}

Result<Tensors> logical_not(const Call& call) {
  RTAI_TRY_VOID(expect_type(call[0], DType::boolean, "src"));
  RTAI_TRY(Tensor result, call.allocate(DType::boolean, call[0].dims()));
  const std::span<bool> dst = result.mutable_data<bool>();
  std::size_t i = 0;
  for (const bool x : call[0].data<bool>())
    dst[i++] = !x;
  return Tensors{result};
}

Result<Tensors> is_nan(const Call& call) {
  return classify(call, [](auto x) { return std::isnan(x); });
}

Result<Tensors> is_inf(const Call& call) {
  const bool negative = call.attributes().integer("detect_negative", 1) != 0;
  const bool positive = call.attributes().integer("detect_positive", 1) != 0;
  return classify(call, [=](auto x) { return std::isinf(x) && (x < 0 ? negative : positive); });
}

Result<Tensors> choose(const Call& call) {
  RTAI_TRY_VOID(expect_type(call[0], DType::boolean, "condition"));
  if (call[0].elements() != 1) return invalid_input("a condition of several elements");
  return Tensors{call[call[0].data<bool>()[0] ? 1 : 2]};
}

Result<Tensors> where(const Call& call) {
  const Tensor& a = call[1];
  const Tensor& b = call[2];
  RTAI_TRY_VOID(expect_type(call[0], DType::boolean, "condition"));
  RTAI_TRY_VOID(expect_same_type(a, b));
  RTAI_TRY(const ir::Dims both, broadcast(a.dims(), b.dims()));
  RTAI_TRY(const ir::Dims dims, broadcast(call[0].dims(), both));
  RTAI_TRY(Tensor result, call.allocate(a.dtype(), dims));
  with_storage(a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const bool* condition = call[0].data<bool>().data();
    const T* x = a.data<T>().data();
    const T* y = b.data<T>().data();
    T* dst = result.mutable_data<T>().data();
    for_each_row<3>(dims,
                    {broadcast_strides(call[0].dims(), dims), broadcast_strides(a.dims(), dims),
                     broadcast_strides(b.dims(), dims)},
                    [&](const Row<3>& row) {
                      for (Index i = 0; i < row.count; ++i) {
                        dst[row.dst + i] = condition[row.at[0] + i * row.step[0]]
                                               ? x[row.at[1] + i * row.step[1]]
                                               : y[row.at[2] + i * row.step[2]];
                      }
                    });
  });
  return Tensors{result};
}

}  // namespace op
}  // namespace rtai::reference
