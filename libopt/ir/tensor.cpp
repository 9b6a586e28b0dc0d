#include "libopt/ir/tensor.h"

#include "runtime/base/checked.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>

namespace rtai::ir {
namespace {

constexpr std::align_val_t kAlignment{64};
alignas(64) constexpr std::byte kZero[8] = {};

struct AlignedDelete {
  void operator()(std::byte* data) const { ::operator delete(data, kAlignment); }
};

std::shared_ptr<std::byte> allocate_bytes(std::size_t count) {
  auto* data = static_cast<std::byte*>(::operator new(std::max<std::size_t>(count, 1), kAlignment));
  return {data, AlignedDelete{}};
}

template <class F>
auto with_type(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::i8:
    case DType::i4:
    case DType::i2:
      return f(std::int8_t{});
    case DType::u8:
    case DType::u4:
    case DType::u2:
    case DType::f8e4m3fn:
    case DType::f8e4m3fnuz:
    case DType::f8e5m2:
    case DType::f8e5m2fnuz:
    case DType::f8e8m0:
    case DType::f4e2m1:
      return f(std::uint8_t{});
    case DType::boolean:
      return f(bool{});
    case DType::i16:
      return f(std::int16_t{});
    case DType::u16:
      return f(std::uint16_t{});
    case DType::i32:
      return f(std::int32_t{});
    case DType::u32:
      return f(std::uint32_t{});
    case DType::i64:
      return f(std::int64_t{});
    case DType::u64:
      return f(std::uint64_t{});
    case DType::f16:
    case DType::bf16:
      break;
  }
  return f(std::uint16_t{});  // codes of floats: the caller looks at dtype
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 ||
         dtype == DType::bf16 || is_small_float(dtype);
}

}  // namespace

Result<Index> element_count(std::span<const Index> dims) {
  Index product = 1;
  for (const Index dim : dims) {
    const std::optional<Index> next = dim < 0 ? std::nullopt : checked_mul(product, dim);
    if (!next) {
      return Error{ErrorCode::invalid_input, "impossible dimensions " + to_string(dims)};
    }
    product = *next;
  }
  return product;
}

std::string to_string(std::span<const Index> dims) {
  std::string text = "[";
  for (const Index dim : dims) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dim);
  }
  return text + "]";
}

Tensor Tensor::allocate(DType dtype, Dims dims) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.elements_ = element_count(dims).value();
  tensor.dims_ = std::move(dims);
  tensor.owned_ = allocate_bytes(static_cast<std::size_t>(tensor.elements_ * dtype_bytes(dtype)));
  tensor.data_ = tensor.owned_.get();
  return tensor;
}

Result<Tensor> Tensor::zeros(DType dtype, Dims dims) {
  RTAI_TRY(const Index elements, element_count(dims));
  const std::optional<Index> bytes = checked_mul(elements, dtype_bytes(dtype));
  if (!bytes) {
    return Error{ErrorCode::invalid_input, "impossible dimensions " + to_string(dims)};
  }
  try {
    Tensor tensor = allocate(dtype, std::move(dims));
    std::memset(tensor.owned_.get(), 0, static_cast<std::size_t>(*bytes));
    return tensor;
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device,
                 "out of memory for a tensor of " + std::to_string(*bytes) + " bytes"};
  }
}

Tensor Tensor::borrow(DType dtype,
                      Dims dims,
                      std::shared_ptr<const void> owner,
                      std::span<const std::byte> bytes) {
  Tensor tensor;
  tensor.dtype_ = dtype;
  tensor.elements_ = element_count(dims).value();
  RTAI_ASSERT(std::ssize(bytes) == tensor.elements_ * dtype_bytes(dtype), "size fits dimensions");
  tensor.dims_ = std::move(dims);
  tensor.borrowed_ = std::move(owner);
  tensor.data_ = bytes.data();
  return tensor;
}

std::span<const std::byte> Tensor::bytes() const {
  return {data_ == nullptr ? kZero : data_,
          static_cast<std::size_t>(elements_ * dtype_bytes(dtype_))};
}

std::span<std::byte> Tensor::own() {
  const auto count = static_cast<std::size_t>(elements_ * dtype_bytes(dtype_));
  if (owned_ == nullptr || owned_.use_count() > 1) {
    std::shared_ptr<std::byte> copy = allocate_bytes(count);
    if (count > 0) std::memcpy(copy.get(), bytes().data(), count);
    owned_ = std::move(copy);
    borrowed_.reset();
    data_ = owned_.get();
  }
  return {owned_.get(), count};
}

Tensor Tensor::reshaped(Dims dims) const {
  Tensor tensor = *this;
  RTAI_ASSERT(element_count(dims).value() == elements_, "a reshape keeps the number of elements");
  tensor.dims_ = std::move(dims);
  return tensor;
}

double Tensor::value(Index i) const {
  RTAI_ASSERT(i >= 0 && i < elements_, "element inside the tensor");
  if (dtype_ == DType::f16) return f16_to_f32(data<std::uint16_t>()[static_cast<std::size_t>(i)]);
  if (dtype_ == DType::bf16) return bf16_to_f32(data<std::uint16_t>()[static_cast<std::size_t>(i)]);
  if (is_small_float(dtype_)) {
    return small_float_values(dtype_)[data<std::uint8_t>()[static_cast<std::size_t>(i)]];
  }
  return with_type(dtype_, [&](auto zero) {
    decltype(zero) element{};
    std::memcpy(&element, bytes().data() + i * dtype_bytes(dtype_), sizeof element);
    return static_cast<double>(element);
  });
}

std::int64_t Tensor::integer(Index i) const {
  return with_type(dtype_, [&](auto element) {
    std::memcpy(&element, bytes().data() + i * dtype_bytes(dtype_), sizeof element);
    return static_cast<std::int64_t>(element);
  });
}

std::vector<Index> Tensor::to_indices() const {
  std::vector<Index> indices(static_cast<std::size_t>(elements_));
  if (dtype_ == DType::i64) {  // exact beyond 2^53
    const std::span<const std::int64_t> values = data<std::int64_t>();
    std::copy(values.begin(), values.end(), indices.begin());
    return indices;
  }
  for (Index i = 0; i < elements_; ++i) {
    const double clamped = std::clamp(value(i), -0x1p62, 0x1p62);  // NaN stays NaN
    indices[static_cast<std::size_t>(i)] = clamped == clamped ? static_cast<Index>(clamped) : 0;
  }
  return indices;
}

Tensor Tensor::to_small(DType dtype, const Rounding& rounding) const {
  Tensor result = allocate(dtype, dims_);
  const std::span<std::uint8_t> codes = result.mutable_data<std::uint8_t>();
  for (Index i = 0; i < elements_; ++i) {
    std::uint8_t& code = codes[static_cast<std::size_t>(i)];
    if (is_small_float(dtype))
      code = to_small_float(dtype, value(i), rounding);
    else if (is_float(dtype_))
      code = static_cast<std::uint8_t>(to_small_integer(dtype, value(i)));
    else
      code = static_cast<std::uint8_t>(to_small_integer(dtype, integer(i)));
  }
  return result;
}

Tensor Tensor::converted(DType dtype, const Rounding& rounding) const {
  if (dtype == dtype_) return *this;
  if (is_small_float(dtype) || is_small_integer(dtype)) return to_small(dtype, rounding);
  Tensor result = allocate(dtype, dims_);
  std::byte* target = result.owned_.get();
  const bool from_float = is_float(dtype_);
  for (Index i = 0; i < elements_; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (dtype == DType::f16 || dtype == DType::bf16) {
      const auto wide = static_cast<float>(value(i));
      result.mutable_data<std::uint16_t>()[at] =
          dtype == DType::f16 ? f32_to_f16(wide) : f32_to_bf16(wide);
      continue;
    }
    with_type(dtype, [&](auto zero) {
      using T = decltype(zero);
      T element{};
      if constexpr (std::is_same_v<T, bool>) {
        element = value(i) != 0;
      } else if (from_float || std::is_floating_point_v<T>) {
        const double wide = value(i);
        if constexpr (std::is_floating_point_v<T>) {
          element = static_cast<T>(wide);
        } else {  // out of range is undefined in C++: saturate, as x86 and ONNX Runtime nearly do
          constexpr double kLow = static_cast<double>(std::numeric_limits<T>::min());
          constexpr double kHigh = static_cast<double>(std::numeric_limits<T>::max());
          if (wide >= kHigh)
            element = std::numeric_limits<T>::max();
          else if (wide <= kLow)
            element = std::numeric_limits<T>::min();
          else if (wide == wide)
            element = static_cast<T>(wide);
        }
      } else {  // integer to integer wraps
        element = static_cast<T>(integer(i));
      }
      std::memcpy(target + i * static_cast<Index>(sizeof element), &element, sizeof element);
      return 0;
    });
  }
  return result;
}

bool operator==(const Tensor& a, const Tensor& b) {
  if (a.dtype_ != b.dtype_ || a.dims_ != b.dims_) return false;
  const std::span<const std::byte> left = a.bytes();
  const std::span<const std::byte> right = b.bytes();
  return left.data() == right.data() || std::equal(left.begin(), left.end(), right.begin());
}

}  // namespace rtai::ir
