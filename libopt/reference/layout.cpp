// Shapes and the order of elements.
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"
#include "runtime/base/checked.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace rtai::reference {
namespace {

using ir::Dims;
using ir::Tensor;

Tensors of_indices(const std::vector<Index>& values) {
  return {Tensor::from<std::int64_t>({std::ssize(values)}, values)};
}

Result<Tensors> cast_to(const Call& call, DType dtype) {
  RTAI_TRY(const ir::Rounding rounding, rounding_of(call.attributes()));
  return one(call.convert(call[0], dtype, rounding));
}

/// The dimensions that Reshape asks for: 0 copies one, -1 is what is left.
Result<Dims> reshaped_dims(const Tensor& src, Dims dims, bool zero_is_zero) {
  Index inferred = -1;
  for (std::size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0 && !zero_is_zero) {
      if (std::ssize(src.dims()) <= static_cast<Index>(i)) {
        return invalid_input(
            fmt::format("dimension {} of {} is not there to copy", i, describe(src)));
      }
      dims[i] = src.dims()[i];
    } else if (dims[i] == -1) {
      if (inferred >= 0) return invalid_input("two dimensions of -1");
      inferred = static_cast<Index>(i);
    }
  }
  if (inferred >= 0) {
    auto& unknown = dims[static_cast<std::size_t>(inferred)];
    unknown = 1;
    RTAI_TRY(const Index others, ir::element_count(dims));
    if (others == 0 || src.elements() % others != 0) {
      unknown = -1;
      return invalid_input(
          fmt::format("{} does not reshape to {}", describe(src), ir::to_string(dims)));
    }
    unknown = src.elements() / others;
  }
  RTAI_TRY(const Index elements, ir::element_count(dims));
  if (elements == src.elements()) return dims;
  return invalid_input(
      fmt::format("{} does not reshape to {}", describe(src), ir::to_string(dims)));
}

/// Which elements of an axis a slice takes: `count` of them, `step` apart.
struct Range {
  Index start = 0;
  Index step = 1;
  Index count = 0;
};

Result<Range> slice_range(Index size, Index start, Index end, Index step) {
  if (step == 0) return invalid_input("a step of 0");
  if (start < 0) start += size;
  if (end < 0) end += size;
  if (step > 0) {
    start = std::clamp<Index>(start, 0, size);
    end = std::clamp<Index>(end, 0, size);
    return Range{start, step, end > start ? 1 + (end - start - 1) / step : 0};
  }
  step = std::max(step, -std::numeric_limits<Index>::max());
  start = std::clamp<Index>(start, -1, size - 1);
  end = std::clamp<Index>(end, -1, size - 1);
  return Range{start, step, start > end ? 1 + (start - end - 1) / -step : 0};
}

Result<std::vector<Index>> split_sizes(const Call& call, Index size) {
  const auto parts = static_cast<Index>(call.output_count());
  if (!call.has(1)) {
    const Index each = div_up(size, parts);
    std::vector<Index> sizes;
    for (Index i = 0; i < parts; ++i) {
      sizes.push_back(std::min(each, std::max<Index>(size - i * each, 0)));
    }
    return sizes;
  }
  RTAI_TRY(std::vector<Index> sizes, index_list(call[1], "split"));
  Index total = 0;
  for (const Index part : sizes) {
    if (part < 0 || part > size - total) total = size + 1;
    if (total <= size) total += part;
  }
  if (total == size && std::ssize(sizes) == parts) return sizes;
  return invalid_input(
      fmt::format("{} does not split {} into {} parts", ir::to_string(sizes), size, parts));
}

/// The number of elements of Range, for integers without overflow.
template <class T>
Result<Index> range_count(T start, T limit, T delta) {
  if constexpr (std::floating_point<T>) {
    const double count = std::ceil((static_cast<double>(limit) - static_cast<double>(start)) /
                                   static_cast<double>(delta));
    if (!(count <= 0x1p62)) return invalid_input("a range without end");
    return static_cast<Index>(std::max(count, 0.0));
  } else {
    if (delta == 0) return invalid_input("a range with a step of 0");
    const bool up = delta > 0;
    if (up ? start >= limit : start <= limit) return Index{0};
    const auto low = static_cast<std::uint64_t>(up ? start : limit);
    const auto high = static_cast<std::uint64_t>(up ? limit : start);
    const auto step =
        up ? static_cast<std::uint64_t>(delta) : 0 - static_cast<std::uint64_t>(delta);
    const std::uint64_t count = 1 + (high - low - 1) / step;
    if (count > static_cast<std::uint64_t>(std::numeric_limits<Index>::max())) {
      return invalid_input("a range without end");
    }
    return static_cast<Index>(count);
  }
}

}  // namespace

namespace op {

Result<Tensors> identity(const Call& call) {
  return Tensors{call[0]};
}

Result<Tensors> dropout(const Call& call) {
  if (call.output_count() < 2) return Tensors{call[0]};
  RTAI_TRY(Tensor mask, call.allocate(DType::boolean, call[0].dims()));
  std::ranges::fill(mask.mutable_data<bool>(), true);
  return Tensors{call[0], mask};
}

Result<Tensors> cast(const Call& call) {
  const std::string to = call.attributes().text("to", "");
  const std::optional<DType> dtype = dtype_from_name(to);
  if (!dtype) return invalid_input(fmt::format("cannot cast to '{}'", to));
  return cast_to(call, *dtype);
}

Result<Tensors> cast_like(const Call& call) {
  return cast_to(call, call[1].dtype());
}

Result<Tensors> shape(const Call& call) {
  const Dims& dims = call[0].dims();
  const auto rank = std::ssize(dims);
  const auto bound = [&](Index i) { return std::clamp<Index>(i < 0 ? i + rank : i, 0, rank); };
  const Index start = bound(call.attributes().integer("start", 0));
  const Index end = bound(call.attributes().integer("end", rank));
  return of_indices({dims.begin() + start, dims.begin() + std::max(start, end)});
}

Result<Tensors> size(const Call& call) {
  return Tensors{Tensor::scalar<std::int64_t>(call[0].elements())};
}

Result<Tensors> reshape(const Call& call) {
  RTAI_TRY(std::vector<Index> wanted, index_list(call[1], "shape"));
  const bool zero_is_zero = call.attributes().integer("allowzero", 0) != 0;
  RTAI_TRY(Dims dims, reshaped_dims(call[0], std::move(wanted), zero_is_zero));
  return Tensors{call[0].reshaped(std::move(dims))};
}

Result<Tensors> flatten(const Call& call) {
  const Dims& dims = call[0].dims();
  const Index rank = call[0].rank();
  Index axis = call.attributes().integer("axis", 1);
  if (axis < -rank || axis > rank)
    return invalid_input(fmt::format("axis {} for rank {}", axis, rank));
  if (axis < 0) axis += rank;
  const auto at = static_cast<std::size_t>(axis);
  return Tensors{
      call[0].reshaped({product(std::span(dims).first(at)), product(std::span(dims).subspan(at))})};
}

Result<Tensors> transpose(const Call& call) {
  const Tensor& src = call[0];
  std::vector<Index> perm = call.attributes().integers("perm");
  if (call.attributes().find("perm") == nullptr) {
    for (Index i = src.rank(); i-- > 0;)
      perm.push_back(i);
  }
  RTAI_TRY(const std::vector<Index> sorted, normalize_axes(perm, src.rank()));
  if (std::ssize(sorted) != src.rank()) {
    return invalid_input(fmt::format("perm {} for {}", ir::to_string(perm), describe(src)));
  }
  const Dims own = strides_of(src.dims());
  Dims dims;
  Dims strides;
  for (const Index axis : perm) {
    const auto from = static_cast<std::size_t>(axis < 0 ? axis + src.rank() : axis);
    dims.push_back(src.dims()[from]);
    strides.push_back(own[from]);
  }
  return one(copy_strided(call, src, dims, strides, 0));
}

Result<Tensors> squeeze(const Call& call) {
  const Tensor& src = call[0];
  std::vector<Index> axes;
  if (call.has(1)) {
    RTAI_TRY(const std::vector<Index> given, index_list(call[1], "axes"));
    RTAI_TRY(axes, normalize_axes(given, src.rank()));
  } else {
    for (Index i = 0; i < src.rank(); ++i) {
      if (src.dim(i) == 1) axes.push_back(i);
    }
  }
  Dims dims;
  for (Index i = 0; i < src.rank(); ++i) {
    if (!std::ranges::binary_search(axes, i)) {
      dims.push_back(src.dim(i));
    } else if (src.dim(i) != 1) {
      return invalid_input(fmt::format("axis {} of {} is not 1", i, describe(src)));
    }
  }
  return Tensors{src.reshaped(std::move(dims))};
}

Result<Tensors> unsqueeze(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const std::vector<Index> given, index_list(call[1], "axes"));
  const Index rank = src.rank() + std::ssize(given);
  RTAI_TRY(const std::vector<Index> axes, normalize_axes(given, rank));
  Dims dims;
  Index taken = 0;
  for (Index i = 0; i < rank; ++i) {
    dims.push_back(std::ranges::binary_search(axes, i) ? 1 : src.dim(taken++));
  }
  RTAI_TRY_VOID(expect_possible_dims(dims));
  return Tensors{src.reshaped(std::move(dims))};
}

Result<Tensors> expand(const Call& call) {
  RTAI_TRY(const std::vector<Index> target, index_list(call[1], "shape"));
  RTAI_TRY(const Dims dims, broadcast(call[0].dims(), target));
  return one(copy_strided(call, call[0], dims, broadcast_strides(call[0].dims(), dims), 0));
}

Result<Tensors> tile(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const std::vector<Index> repeats, index_list(call[1], "repeats"));
  if (std::ssize(repeats) != src.rank()) {
    return invalid_input(fmt::format("{} repeats for {}", repeats.size(), describe(src)));
  }
  const Dims own = strides_of(src.dims());
  Dims dims;     // each axis twice: how often it is repeated, then itself
  Dims strides;  // 0 along the repetition
  Dims result;
  for (std::size_t i = 0; i < repeats.size(); ++i) {
    RTAI_TRY(const Index size, ir::element_count(std::array{repeats[i], src.dims()[i]}));
    result.push_back(size);
    dims.insert(dims.end(), {repeats[i], src.dims()[i]});
    strides.insert(strides.end(), {0, own[i]});
  }
  RTAI_TRY(const Tensor copied, copy_strided(call, src, dims, strides, 0));
  return Tensors{copied.reshaped(std::move(result))};
}

Result<Tensors> concat(const Call& call) {
  const Tensor& first = call[0];
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", 0), first.rank()));
  Dims dims = first.dims();
  Index& joined = dims[static_cast<std::size_t>(axis)];
  for (std::size_t i = 1; i < call.input_count(); ++i) {
    RTAI_TRY_VOID(expect_same_type(first, call[i]));
    Dims other = call[i].dims();
    if (other.size() == dims.size()) other[static_cast<std::size_t>(axis)] = joined;
    if (other != dims) {
      return invalid_input(fmt::format("{} and {} do not join along axis {}", describe(first),
                                       describe(call[i]), axis));
    }
    joined += call[i].dim(axis);  // both below 2^60
    RTAI_TRY_VOID(expect_possible_dims(dims));
  }
  RTAI_TRY(Tensor result, call.allocate(first.dtype(), dims));
  if (result.elements() == 0) return Tensors{result};
  const AxisView whole = around_axis(dims, axis);
  with_storage(first.dtype(), [&](auto zero) {
    using T = decltype(zero);
    T* dst = result.mutable_data<T>().data();
    for (std::size_t i = 0; i < call.input_count(); ++i) {
      const Index run = call[i].dim(axis) * whole.inner;
      const T* src = call[i].data<T>().data();
      for (Index o = 0; o < whole.outer; ++o) {
        std::copy_n(src + o * run, run, dst + o * whole.size * whole.inner);
      }
      dst += run;
    }
  });
  return Tensors{result};
}

Result<Tensors> split(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", 0), src.rank()));
  RTAI_TRY(const std::vector<Index> sizes, split_sizes(call, src.dim(axis)));
  const Dims strides = strides_of(src.dims());
  Tensors parts;
  Index begin = 0;
  for (const Index part : sizes) {
    Dims dims = src.dims();
    dims[static_cast<std::size_t>(axis)] = part;
    const Index offset = part == 0 ? 0 : begin * strides[static_cast<std::size_t>(axis)];
    RTAI_TRY(Tensor result, copy_strided(call, src, dims, strides, offset));
    parts.push_back(std::move(result));
    begin += part;
  }
  return parts;
}

Result<Tensors> slice(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const std::vector<Index> starts, index_list(call[1], "starts"));
  RTAI_TRY(const std::vector<Index> ends, index_list(call[2], "ends"));
  std::vector<Index> axes;
  std::vector<Index> steps(starts.size(), 1);
  for (Index i = 0; i < std::ssize(starts); ++i)
    axes.push_back(i);
  if (call.has(3)) {
    RTAI_TRY(axes, index_list(call[3], "axes"));
  }
  if (call.has(4)) {
    RTAI_TRY(steps, index_list(call[4], "steps"));
  }
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    return invalid_input("starts, ends, axes and steps differ in length");
  }
  RTAI_TRY_VOID(normalize_axes(axes, src.rank()));  // none twice
  Dims dims = src.dims();
  Dims strides = strides_of(dims);
  Index offset = 0;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    RTAI_TRY(const Index axis, normalize_axis(axes[i], src.rank()));
    const auto at = static_cast<std::size_t>(axis);
    RTAI_TRY(const Range range, slice_range(src.dims()[at], starts[i], ends[i], steps[i]));
    dims[at] = range.count;
    if (range.count > 0) offset += range.start * strides[at];
    strides[at] = range.count > 1 ? strides[at] * range.step : 0;
  }
  return one(copy_strided(call, src, dims, strides, src.elements() == 0 ? 0 : offset));
}

Result<Tensors> constant_of_shape(const Call& call) {
  RTAI_TRY(Dims dims, index_list(call[0], "shape"));
  const ir::Attribute* attribute = call.attributes().find("value");
  const Tensor* value = attribute == nullptr ? nullptr : std::get_if<Tensor>(attribute);
  const Tensor fill = value == nullptr ? Tensor() : *value;
  if (fill.elements() != 1)
    return invalid_input(fmt::format("value is {}, expected one", describe(fill)));
  RTAI_TRY(Tensor result, call.allocate(fill.dtype(), std::move(dims)));
  with_storage(fill.dtype(), [&](auto zero) {
    using T = decltype(zero);
    std::ranges::fill(result.mutable_data<T>(), fill.data<T>()[0]);
  });
  return Tensors{result};
}

Result<Tensors> range(const Call& call) {
  for (std::size_t i = 0; i < 3; ++i) {
    RTAI_TRY_VOID(expect_same_type(call[0], call[i]));
    if (call[i].elements() != 1) return invalid_input(fmt::format("input {} is not one number", i));
  }
  using Allowed = Types<float, double, std::int16_t, std::int32_t, std::int64_t>;
  return one(with_type(Allowed{}, call[0].dtype(), [&](auto zero) -> Result<Tensor> {
    using T = decltype(zero);
    const T start = call[0].data<T>()[0];
    const T delta = call[2].data<T>()[0];
    RTAI_TRY(const Index count, range_count(start, call[1].data<T>()[0], delta));
    RTAI_TRY(Tensor result, call.allocate(call[0].dtype(), {count}));
    Index i = 0;
    for (T& value : result.mutable_data<T>()) {
      value = wrapping_add(start, wrapping_mul(static_cast<T>(i++), delta));
    }
    return result;
  }));
}

}  // namespace op
}  // namespace rtai::reference
