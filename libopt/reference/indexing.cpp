// Elements taken from and put to places that other tensors name.
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::reference {
namespace {

using ir::Dims;
using ir::Tensor;

Result<void> expect_index_type(const Tensor& indices) {
  if (indices.dtype() == DType::i64 || indices.dtype() == DType::i32) return {};
  return invalid_input(fmt::format("indices are {}, expected i64", describe(indices)));
}

/// The indices of a tensor, each counted from the front of an axis of `size`.
Result<std::vector<Index>> places(const Call& call, const Tensor& indices, Index size) {
  RTAI_TRY_VOID(expect_index_type(indices));
  RTAI_TRY(std::vector<Index> result, call.indices(indices));
  for (Index& place : result) {
    if (place < -size || place >= size) {
      return invalid_input(fmt::format("index {} is outside of [{}, {})", place, -size, size));
    }
    if (place < 0) place += size;
  }
  return result;
}

/// Where the slices that GatherND and ScatterND name begin, in elements of `data`.
///
/// Shapes: indices [..., depth] name places on the axes from `first_axis` on; one offset for each.
Result<std::vector<Index>> slice_offsets(const Call& call,
                                         const Tensor& indices,
                                         std::span<const Index> data_dims,
                                         Index first_axis) {
  const Index depth = indices.dim(-1);
  const Dims strides = strides_of(data_dims);
  RTAI_TRY(const std::vector<Index> flat, call.indices(indices));
  std::vector<Index> offsets(flat.size() / static_cast<std::size_t>(depth), 0);
  for (std::size_t i = 0; i < flat.size(); ++i) {
    const auto axis = static_cast<std::size_t>(first_axis) + i % static_cast<std::size_t>(depth);
    const Index size = data_dims[axis];
    if (flat[i] < -size || flat[i] >= size) {
      return invalid_input(fmt::format("index {} is outside of [{}, {})", flat[i], -size, size));
    }
    offsets[i / static_cast<std::size_t>(depth)] +=
        (flat[i] < 0 ? flat[i] + size : flat[i]) * strides[axis];
  }
  return offsets;
}

Result<void> expect_nd_indices(const Tensor& indices, Index most_depth) {
  RTAI_TRY_VOID(expect_index_type(indices));
  if (indices.rank() < 1 || indices.dim(-1) < 1 || indices.dim(-1) > most_depth) {
    return invalid_input(fmt::format("indices are {}, their last dimension must be in [1, {}]",
                                     describe(indices), most_depth));
  }
  return {};
}

enum class Combine { replace, add, mul, min, max };

Result<Combine> combine_from(const std::string& name) {
  if (name == "none") return Combine::replace;
  if (name == "add") return Combine::add;
  if (name == "mul") return Combine::mul;
  if (name == "min") return Combine::min;
  if (name == "max") return Combine::max;
  return invalid_input(fmt::format("unknown reduction '{}'", name));
}

template <class T>
T combined(Combine how, T old, T update) {
  if constexpr (!std::same_as<T, bool>) {
    switch (how) {
      case Combine::add:
        return wrapping_add(old, update);
      case Combine::mul:
        return wrapping_mul(old, update);
      case Combine::min:
        return std::min(old, update);
      case Combine::max:
        return std::max(old, update);
      case Combine::replace:
        break;
    }
  }
  return update;
}

/// What Pad adds at both ends of each axis, and how much it crops (both >= 0).
struct Padding {
  Dims before, after, crop_before, crop_after;
};

Result<Padding> padding_of(const Call& call) {
  const Index rank = call[0].rank();
  RTAI_TRY(const std::vector<Index> pads, index_list(call[1], "pads"));
  std::vector<Index> axes;
  for (Index i = 0; i < rank; ++i)
    axes.push_back(i);
  if (call.has(3)) {
    RTAI_TRY(axes, index_list(call[3], "axes"));
    RTAI_TRY_VOID(normalize_axes(axes, rank));
  }
  if (pads.size() != 2 * axes.size()) {
    return invalid_input(fmt::format("{} pads for {} axes", pads.size(), axes.size()));
  }
  const auto size = static_cast<std::size_t>(rank);
  Padding padding{Dims(size), Dims(size), Dims(size), Dims(size)};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    RTAI_TRY(const Index axis, normalize_axis(axes[i], rank));
    const Index begin = pads[i];
    const Index end = pads[axes.size() + i];
    const Index length = call[0].dim(axis);
    // A limit that no memory reaches keeps the sums below from overflowing.
    constexpr Index kLongest = Index{1} << 60;
    if (begin > kLongest || end > kLongest || begin < -length || end < -length ||
        std::min<Index>(begin, 0) + std::min<Index>(end, 0) < -length) {
      return invalid_input(fmt::format("pads {} and {} for an axis of {}", begin, end, length));
    }
    const auto at = static_cast<std::size_t>(axis);
    padding.before[at] = std::max<Index>(begin, 0);
    padding.after[at] = std::max<Index>(end, 0);
    padding.crop_before[at] = std::max<Index>(-begin, 0);
    padding.crop_after[at] = std::max<Index>(-end, 0);
  }
  return padding;
}

constexpr Index kFill = -1;  // not from the source: the constant

/// The place in an axis of `size` that place `at`, which may lie outside, shows.
Index padded_place(const std::string& mode, Index at, Index size) {
  if (at >= 0 && at < size) return at;
  if (mode == "constant") return kFill;
  if (mode == "edge") return std::clamp<Index>(at, 0, size - 1);
  if (mode == "wrap") return (at % size + size) % size;
  if (size == 1) return 0;
  const Index period = 2 * (size - 1);  // reflect
  const Index phase = (at % period + period) % period;
  return phase < size ? phase : period - phase;
}

/// Copies the part of a padded tensor below `axis`; `src_at` is kFill outside of the source.
template <class T>
void pad_axis(const std::vector<std::vector<Index>>& maps,
              const Dims& strides,
              std::size_t axis,
              const T* src,
              Index src_at,
              T fill,
              T*& dst) {
  if (axis == maps.size()) {
    *dst++ = src_at == kFill ? fill : src[src_at];
    return;
  }
  for (const Index place : maps[axis]) {
    const bool outside = src_at == kFill || place == kFill;
    pad_axis(maps, strides, axis + 1, src, outside ? kFill : src_at + place * strides[axis], fill,
             dst);
  }
}

}  // namespace

namespace op {

Result<Tensors> gather(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", 0), src.rank()));
  RTAI_TRY(const std::vector<Index> rows, places(call, call[1], src.dim(axis)));
  Dims dims(src.dims().begin(), src.dims().begin() + axis);
  dims.insert(dims.end(), call[1].dims().begin(), call[1].dims().end());
  dims.insert(dims.end(), src.dims().begin() + axis + 1, src.dims().end());
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), std::move(dims)));
  if (result.elements() == 0) return Tensors{result};
  const AxisView view = around_axis(src.dims(), axis);
  with_storage(src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = src.data<T>().data();
    T* to = result.mutable_data<T>().data();
    for (Index o = 0; o < view.outer; ++o) {
      for (const Index row : rows) {
        to = std::copy_n(from + (o * view.size + row) * view.inner, view.inner, to);
      }
    }
  });
  return Tensors{result};
}

Result<Tensors> gather_elements(const Call& call) {
  const Tensor& src = call[0];
  const Tensor& indices = call[1];
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", 0), src.rank()));
  RTAI_TRY_VOID(expect_rank(indices, src.rank(), "indices"));
  for (Index i = 0; i < src.rank(); ++i) {
    if (i != axis && indices.dim(i) > src.dim(i)) {
      return invalid_input(
          fmt::format("indices are {}, data is {}", describe(indices), describe(src)));
    }
  }
  RTAI_TRY(const std::vector<Index> along, places(call, indices, src.dim(axis)));
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), indices.dims()));
  Dims strides = strides_of(src.dims());
  const Index axis_stride = strides[static_cast<std::size_t>(axis)];
  strides[static_cast<std::size_t>(axis)] = 0;  // the index says where along the axis
  with_storage(src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = src.data<T>().data();
    T* to = result.mutable_data<T>().data();
    for_each_row<1>(indices.dims(), {strides}, [&](const Row<1>& row) {
      for (Index i = 0; i < row.count; ++i) {
        const Index place = along[static_cast<std::size_t>(row.dst + i)];
        to[row.dst + i] = from[row.at[0] + i * row.step[0] + place * axis_stride];
      }
    });
  });
  return Tensors{result};
}

Result<Tensors> gather_nd(const Call& call) {
  const Tensor& src = call[0];
  const Tensor& indices = call[1];
  const Index batch_dims = call.attributes().integer("batch_dims", 0);
  if (batch_dims < 0 || batch_dims >= src.rank() || batch_dims >= indices.rank() ||
      !std::equal(src.dims().begin(), src.dims().begin() + batch_dims, indices.dims().begin())) {
    return invalid_input(
        fmt::format("batch_dims {} for {} and {}", batch_dims, describe(src), describe(indices)));
  }
  RTAI_TRY_VOID(expect_nd_indices(indices, src.rank() - batch_dims));
  RTAI_TRY(const std::vector<Index> offsets, slice_offsets(call, indices, src.dims(), batch_dims));
  const auto first_kept = static_cast<std::size_t>(batch_dims + indices.dim(-1));
  Dims dims(indices.dims().begin(), indices.dims().end() - 1);
  dims.insert(dims.end(), src.dims().begin() + static_cast<std::ptrdiff_t>(first_kept),
              src.dims().end());
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), std::move(dims)));
  if (result.elements() == 0) return Tensors{result};
  const auto batch = static_cast<std::size_t>(batch_dims);
  const Index run = product(std::span(src.dims()).subspan(first_kept));
  const Index batch_size = product(std::span(src.dims()).subspan(batch));
  const Index per_batch = std::ssize(offsets) / product(std::span(src.dims()).first(batch));
  with_storage(src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = src.data<T>().data();
    T* to = result.mutable_data<T>().data();
    for (Index i = 0; i < std::ssize(offsets); ++i) {
      const Index offset = i / per_batch * batch_size + offsets[static_cast<std::size_t>(i)];
      to = std::copy_n(from + offset, run, to);
    }
  });
  return Tensors{result};
}

Result<Tensors> scatter_nd(const Call& call) {
  const Tensor& src = call[0];
  const Tensor& indices = call[1];
  const Tensor& updates = call[2];
  RTAI_TRY_VOID(expect_same_type(src, updates));
  RTAI_TRY_VOID(expect_nd_indices(indices, src.rank()));
  RTAI_TRY(const Combine how, combine_from(call.attributes().text("reduction", "none")));
  RTAI_TRY(const std::vector<Index> offsets, slice_offsets(call, indices, src.dims(), 0));
  Dims dims(indices.dims().begin(), indices.dims().end() - 1);
  dims.insert(dims.end(), src.dims().begin() + indices.dim(-1), src.dims().end());
  if (dims != updates.dims()) {
    return invalid_input(
        fmt::format("updates are {}, expected {}", describe(updates), ir::to_string(dims)));
  }
  RTAI_TRY_VOID(call.reserve(src.dtype(), src.dims()));
  Tensor result = src;
  if (updates.elements() == 0) return Tensors{result};
  const Index run =
      product(std::span(src.dims()).subspan(static_cast<std::size_t>(indices.dim(-1))));
  RTAI_TRY_VOID(with_type(NumbersAndBool{}, src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* from = updates.data<T>().data();
    T* to = result.mutable_data<T>().data();
    for (const Index offset : offsets) {
      for (Index i = 0; i < run; ++i)
        to[offset + i] = combined(how, to[offset + i], *from++);
    }
  }));
  return Tensors{result};
}

Result<Tensors> one_hot(const Call& call) {
  const Tensor& indices = call[0];
  const Tensor& values = call[2];
  if (call[1].elements() != 1 || values.elements() != 2) {
    return invalid_input(
        fmt::format("depth is {}, values are {}", describe(call[1]), describe(values)));
  }
  const Index depth = call[1].to_indices()[0];
  if (depth < 1) return invalid_input(fmt::format("depth is {}", depth));
  RTAI_TRY(const Index axis,
           normalize_axis(call.attributes().integer("axis", -1), indices.rank() + 1));
  Dims dims = indices.dims();
  dims.insert(dims.begin() + axis, depth);
  RTAI_TRY(Tensor result, call.allocate(values.dtype(), dims));
  if (result.elements() == 0) return Tensors{result};
  const AxisView view = around_axis(dims, axis);
  RTAI_TRY(const std::vector<Index> hot, call.indices(indices));
  with_storage(values.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T* off_on = values.data<T>().data();
    T* dst = result.mutable_data<T>().data();
    std::fill_n(dst, result.elements(), off_on[0]);
    for (Index o = 0; o < view.outer; ++o) {
      for (Index i = 0; i < view.inner; ++i) {
        Index place = hot[static_cast<std::size_t>(o * view.inner + i)];
        if (place < -depth || place >= depth) continue;  // all off
        if (place < 0) place += depth;
        dst[(o * depth + place) * view.inner + i] = off_on[1];
      }
    }
  });
  return Tensors{result};
}

Result<Tensors> pad(const Call& call) {
  const Tensor& src = call[0];
  const std::string mode = call.attributes().text("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap") {
    return invalid_input(fmt::format("unknown mode '{}'", mode));
  }
  RTAI_TRY(const Padding padding, padding_of(call));
  if (call.has(2)) {
    RTAI_TRY_VOID(expect_same_type(src, call[2]));
    if (call[2].elements() != 1) return invalid_input("the constant is not one number");
  }
  Dims dims;
  Dims cropped;
  for (std::size_t i = 0; i < src.dims().size(); ++i) {
    cropped.push_back(src.dims()[i] - padding.crop_before[i] - padding.crop_after[i]);
    dims.push_back(padding.before[i] + cropped[i] + padding.after[i]);  // each at most 2^60
  }
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), dims));
  if (result.elements() == 0) return Tensors{result};
  std::vector<std::vector<Index>> maps(dims.size());  // for each axis: where its elements come from
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (cropped[i] == 0 && mode != "constant")
      return invalid_input("nothing to repeat on an empty axis");
    for (Index at = 0; at < dims[i]; ++at) {
      const Index place = padded_place(mode, at - padding.before[i], cropped[i]);
      maps[i].push_back(place == kFill ? kFill : place + padding.crop_before[i]);
    }
  }
  with_storage(src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const T fill = call.has(2) ? call[2].data<T>()[0] : T{0};
    T* dst = result.mutable_data<T>().data();
    pad_axis(maps, strides_of(src.dims()), 0, src.data<T>().data(), 0, fill, dst);
  });
  return Tensors{result};
}

Result<Tensors> non_zero(const Call& call) {
  const Tensor& src = call[0];
  return one(with_type(NumbersAndBool{}, src.dtype(), [&](auto zero) -> Result<Tensor> {
    using T = decltype(zero);
    const std::span<const T> values = src.data<T>();
    const Index count = std::ssize(values) - std::count(values.begin(), values.end(), T{});
    RTAI_TRY(Tensor result, call.allocate(DType::i64, {src.rank(), count}));
    const Dims strides = strides_of(src.dims());
    auto dst = result.mutable_data<std::int64_t>().begin();
    for (std::size_t axis = 0; axis < strides.size(); ++axis) {
      for (Index i = 0; i < src.elements(); ++i) {
        if (src.data<T>()[static_cast<std::size_t>(i)] == T{}) continue;
        *dst++ = i / strides[axis] % src.dims()[axis];
      }
    }
    return result;
  }));
}

Result<Tensors> trilu(const Call& call) {
  const Tensor& src = call[0];
  if (src.rank() < 2)
    return invalid_input(fmt::format("src is {}, expected rank 2 or more", describe(src)));
  Index diagonal = 0;
  if (call.has(1)) {
    RTAI_TRY(diagonal, index_scalar(call[1], "k"));
  }
  const bool upper = call.attributes().integer("upper", 1) != 0;
  RTAI_TRY_VOID(call.reserve(src.dtype(), src.dims()));
  Tensor result = src;
  if (result.elements() == 0) return Tensors{result};
  const Index rows = src.dim(-2);
  const Index columns = src.dim(-1);
  with_storage(src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* dst = result.mutable_data<T>().data();
    for (Index i = 0; i < src.elements(); ++i) {
      const Index from_diagonal = i % columns - i / columns % rows;
      if (upper ? from_diagonal < diagonal : from_diagonal > diagonal) dst[i] = T{};
    }
  });
  return Tensors{result};
}

}  // namespace op
}  // namespace rtai::reference
