// Axes reduced to one number each, and sums along an axis.
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace rtai::reference {
namespace {

using ir::Dims;
using ir::Tensor;

/// What a sum of Ts is held in: an oracle should be closer to the truth than what it judges, and
/// integers wrap around, which only unsigned ones may.
template <class T>
using Accumulator = std::conditional_t<std::floating_point<T>, double, std::uint64_t>;

// The element types that ONNX reduces.
using Summable = Types<float, double, std::int32_t, std::uint32_t, std::int64_t, std::uint64_t>;
using Comparable = Types<float,
                         double,
                         bool,
                         std::int8_t,
                         std::uint8_t,
                         std::int32_t,
                         std::uint32_t,
                         std::int64_t,
                         std::uint64_t>;

// A reduction: where it starts, how it takes one more element, what it makes of `count` of them.

struct Sum {
  using List = Summable;
  template <class T>
  struct On {
    using State = Accumulator<T>;
    static State start() { return 0; }
    static State step(State sum, T x) { return sum + static_cast<State>(x); }
    static T finish(State sum, Index /*count*/) { return static_cast<T>(sum); }
  };
};

struct Mean {
  using List = Summable;
  template <class T>
  struct On : Sum::On<T> {
    using State = Accumulator<T>;
    static T finish(State sum, Index count) {
      if constexpr (std::floating_point<T>) {
        return static_cast<T>(sum / static_cast<double>(count));
      } else {
        if (count == 0) return T{0};
        if constexpr (std::signed_integral<T>) {
          return static_cast<T>(static_cast<std::int64_t>(sum) / count);
        }
        return static_cast<T>(sum / static_cast<std::uint64_t>(count));
      }
    }
  };
};

struct SumSquare {
  using List = Summable;
  template <class T>
  struct On : Sum::On<T> {
    using State = Accumulator<T>;
    static State step(State sum, T x) {
      return sum + static_cast<State>(x) * static_cast<State>(x);
    }
  };
};

struct EuclideanNorm {
  using List = Summable;
  template <class T>
  struct On : SumSquare::On<T> {
    using State = Accumulator<T>;
    static T finish(State sum, Index /*count*/) {
      return static_cast<T>(std::sqrt(static_cast<double>(sum)));
    }
  };
};

struct Product {
  using List = Summable;
  template <class T>
  struct On {
    using State = Accumulator<T>;
    static State start() { return 1; }
    static State step(State so_far, T x) { return so_far * static_cast<State>(x); }
    static T finish(State result, Index /*count*/) { return static_cast<T>(result); }
  };
};

/// The best so far; not bool, of which std::vector makes bits.
template <class T>
using Best = std::conditional_t<std::same_as<T, bool>, std::uint8_t, T>;

template <class T>
constexpr T kLowest = std::numeric_limits<T>::has_infinity ? -std::numeric_limits<T>::infinity()
                                                           : std::numeric_limits<T>::lowest();
template <class T>
constexpr T kHighest = std::numeric_limits<T>::has_infinity ? std::numeric_limits<T>::infinity()
                                                            : std::numeric_limits<T>::max();

struct Largest {
  using List = Comparable;
  template <class T>
  struct On {
    using State = Best<T>;
    static State start() { return kLowest<T>; }
    static State step(State best, T x) { return best != best || best > x ? best : x; }  // NaN stays
    static T finish(State best, Index /*count*/) { return static_cast<T>(best); }
  };
};

struct Smallest {
  using List = Comparable;
  template <class T>
  struct On {
    using State = Best<T>;
    static State start() { return kHighest<T>; }
    static State step(State best, T x) { return best != best || best < x ? best : x; }
    static T finish(State best, Index /*count*/) { return static_cast<T>(best); }
  };
};

/// The axes of a reduction in ascending order; nothing if it is to do nothing.
Result<std::optional<std::vector<Index>>> reduced_axes(const Call& call) {
  const Index rank = call[0].rank();
  std::vector<Index> axes;
  if (call.has(1)) {
    RTAI_TRY(const std::vector<Index> given, index_list(call[1], "axes"));
    RTAI_TRY(axes, normalize_axes(given, rank));
  }
  if (!axes.empty()) return axes;
  if (call.attributes().integer("noop_with_empty_axes", 0) != 0) return std::nullopt;
  for (Index i = 0; i < rank; ++i)
    axes.push_back(i);
  return axes;
}

/// What a reduction fills.
struct Reduced {
  Tensor result;
  Dims kept;  // the source's dimensions, 1 along the reduced axes
};

Result<Reduced> allocate_reduced(const Call& call, const std::vector<Index>& axes) {
  const Tensor& src = call[0];
  const bool keep = call.attributes().integer("keepdims", 1) != 0;
  Dims kept = src.dims();
  Dims dims;
  for (Index i = 0; i < src.rank(); ++i) {
    const bool reduced = std::ranges::binary_search(axes, i);
    if (reduced) kept[static_cast<std::size_t>(i)] = 1;
    if (keep || !reduced) dims.push_back(kept[static_cast<std::size_t>(i)]);
  }
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), dims));
  RTAI_TRY_VOID(call.reserve(DType::f64, kept));  // the states
  return Reduced{std::move(result), std::move(kept)};
}

template <class T, class On>
void reduce_axes(const Tensor& src, Reduced& reduced) {
  using State = typename On::State;
  if (reduced.result.elements() == 0) return;
  const Index count = src.elements() / reduced.result.elements();
  std::vector<State> states(static_cast<std::size_t>(reduced.result.elements()), On::start());
  const T* from = src.data<T>().data();
  State* to = states.data();
  for_each_row<1>(src.dims(), {broadcast_strides(reduced.kept, src.dims())},
                  [&](const Row<1>& row) {
                    for (Index i = 0; i < row.count; ++i) {
                      State& state = to[row.at[0] + i * row.step[0]];
                      state = On::step(state, from[row.dst + i]);
                    }
                  });
  std::transform(states.begin(), states.end(), reduced.result.mutable_data<T>().begin(),
                 [&](State state) { return On::finish(state, count); });
}

template <class Reduction>
Result<Tensors> reduce(const Call& call) {
  RTAI_TRY(const std::optional<std::vector<Index>> axes, reduced_axes(call));
  if (!axes) return Tensors{call[0]};
  RTAI_TRY(Reduced reduced, allocate_reduced(call, *axes));
  using List = typename Reduction::List;
  RTAI_TRY_VOID(with_type(List{}, call[0].dtype(), [&](auto zero) {
    using T = decltype(zero);
    reduce_axes<T, typename Reduction::template On<T>>(call[0], reduced);
  }));
  return one(std::move(reduced.result));
}

/// The first or last place of the largest of `size` elements `step` apart; a NaN counts as largest.
template <class T>
Index place_of_largest(const T* src, Index size, Index step, bool last) {
  Index best = 0;
  for (Index i = 1; i < size; ++i) {
    const T old = src[best * step];
    const T x = src[i * step];
    if (old != old) break;
    if (x != x || x > old || (last && x == old)) best = i;
  }
  return best;
}

}  // namespace

namespace op {

Result<Tensors> reduce_mean(const Call& call) {
  return reduce<Mean>(call);
}
Result<Tensors> reduce_sum(const Call& call) {
  return reduce<Sum>(call);
}
Result<Tensors> reduce_max(const Call& call) {
  return reduce<Largest>(call);
}
Result<Tensors> reduce_min(const Call& call) {
  return reduce<Smallest>(call);
}
Result<Tensors> reduce_prod(const Call& call) {
  return reduce<Product>(call);
}
Result<Tensors> reduce_sum_square(const Call& call) {
  return reduce<SumSquare>(call);
}
Result<Tensors> reduce_l2(const Call& call) {
  return reduce<EuclideanNorm>(call);
}

Result<Tensors> arg_max(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", 0), src.rank()));
  const bool last = call.attributes().integer("select_last_index", 0) != 0;
  Dims dims = src.dims();
  dims[static_cast<std::size_t>(axis)] = 1;
  if (call.attributes().integer("keepdims", 1) == 0) dims.erase(dims.begin() + axis);
  RTAI_TRY(Tensor result, call.allocate(DType::i64, dims));
  if (result.elements() == 0) return Tensors{result};
  const AxisView view = around_axis(src.dims(), axis);
  if (view.size == 0) return invalid_input("nothing to choose from on an empty axis");
  RTAI_TRY_VOID(with_type(Numbers{}, src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = src.data<T>().data();
    auto dst = result.mutable_data<std::int64_t>().begin();
    for (Index o = 0; o < view.outer; ++o) {
      for (Index i = 0; i < view.inner; ++i) {
        *dst++ =
            place_of_largest(from + o * view.size * view.inner + i, view.size, view.inner, last);
      }
    }
  }));
  return Tensors{result};
}

Result<Tensors> cum_sum(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const Index given, index_scalar(call[1], "axis"));
  RTAI_TRY(const Index axis, normalize_axis(given, src.rank()));
  const bool exclusive = call.attributes().integer("exclusive", 0) != 0;
  const bool reverse = call.attributes().integer("reverse", 0) != 0;
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), src.dims()));
  if (result.elements() == 0) return Tensors{result};
  const AxisView view = around_axis(src.dims(), axis);
  RTAI_TRY_VOID(with_type(Summable{}, src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = src.data<T>().data();
    T* to = result.mutable_data<T>().data();
    for (Index o = 0; o < view.outer; ++o) {
      for (Index i = 0; i < view.inner; ++i) {
        Accumulator<T> sum = 0;
        for (Index s = 0; s < view.size; ++s) {
          const Index step = reverse ? view.size - 1 - s : s;
          const Index at = (o * view.size + step) * view.inner + i;
          const Accumulator<T> next = sum + static_cast<Accumulator<T>>(from[at]);
          to[at] = static_cast<T>(exclusive ? sum : next);
          sum = next;
        }
      }
    }
  }));
  return Tensors{result};
}

}  // namespace op
}  // namespace rtai::reference
