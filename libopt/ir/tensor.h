// Constant data of a graph: shared between the graphs that a pass tries out, copied when written.
#pragma once

#include "libopt/ir/small_types.h"
#include "runtime/base/assert.h"
#include "runtime/base/dtype.h"
#include "runtime/base/result.h"

#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

namespace rtai::ir {

using Dims = std::vector<Index>;

/// The product of `dims`. Errors: invalid_input if a dimension is negative or the product
/// overflows.
Result<Index> element_count(std::span<const Index> dims);

/// "[2, 3]"
std::string to_string(std::span<const Index> dims);

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) return DType::f32;
  if constexpr (std::is_same_v<T, double>) return DType::f64;
  if constexpr (std::is_same_v<T, bool>) return DType::boolean;
  if constexpr (std::is_same_v<T, std::int8_t>) return DType::i8;
  if constexpr (std::is_same_v<T, std::uint8_t>) return DType::u8;
  if constexpr (std::is_same_v<T, std::int16_t>) return DType::i16;
  if constexpr (std::is_same_v<T, std::uint16_t>) return DType::u16;
  if constexpr (std::is_same_v<T, std::int32_t>) return DType::i32;
  if constexpr (std::is_same_v<T, std::uint32_t>) return DType::u32;
  if constexpr (std::is_same_v<T, std::int64_t>) return DType::i64;
  if constexpr (std::is_same_v<T, std::uint64_t>) return DType::u64;
}

/// A dense, row-major array of any rank. Copies share the data until one of them is written to.
class Tensor {
 public:
  Tensor() = default;  // f32, no dimensions, one zero

  /// All zeros. Errors: as element_count; device if there is not enough memory.
  static Result<Tensor> zeros(DType dtype, Dims dims);

  /// Data that lives elsewhere and is kept alive by `owner`; not copied.
  static Tensor borrow(DType dtype,
                       Dims dims,
                       std::shared_ptr<const void> owner,
                       std::span<const std::byte> bytes);

  template <class T>
  static Tensor from(Dims dims, std::span<const T> values) {
    Tensor tensor = allocate(dtype_of<T>(), std::move(dims));
    RTAI_ASSERT(tensor.elements() == std::ssize(values), "one value for each element");
    std::copy(values.begin(), values.end(), tensor.mutable_data<T>().begin());
    return tensor;
  }
  template <class T>
  static Tensor from(Dims dims, const std::vector<T>& values) {
    return from<T>(std::move(dims), std::span<const T>(values));
  }
  template <class T>
  static Tensor scalar(T value) {
    return from<T>({}, std::span<const T>(&value, 1));
  }

  DType dtype() const { return dtype_; }
  const Dims& dims() const { return dims_; }
  Index rank() const { return std::ssize(dims_); }
  Index dim(Index axis) const {
    return dims_[static_cast<std::size_t>(axis < 0 ? axis + rank() : axis)];
  }
  Index elements() const { return elements_; }
  std::span<const std::byte> bytes() const;

  template <class T>
  std::span<const T> data() const {
    RTAI_ASSERT(dtype_of<T>() == dtype_ || is_bits_of<T>(), "the element type that was stored");
    return {reinterpret_cast<const T*>(bytes().data()), static_cast<std::size_t>(elements_)};
  }
  /// Makes the data this tensor's own first, if it is shared.
  template <class T>
  std::span<T> mutable_data() {
    RTAI_ASSERT(dtype_of<T>() == dtype_ || is_bits_of<T>(), "the element type that was stored");
    return {reinterpret_cast<T*>(own().data()), static_cast<std::size_t>(elements_)};
  }

  /// The same data under other dimensions of the same product.
  Tensor reshaped(Dims dims) const;

  /// Element i converted to T, whatever is stored.
  double value(Index i) const;
  /// All elements converted; floating point to integer truncates, but rounds to those of 4 and 2
  /// bits; integers keep their low bits.
  std::vector<Index> to_indices() const;
  Tensor converted(DType dtype, const Rounding& rounding = {}) const;

  /// Same type, dimensions and bytes.
  friend bool operator==(const Tensor& a, const Tensor& b);

 private:
  static Tensor allocate(DType dtype, Dims dims);
  std::span<std::byte> own();
  /// Element i of an integer type; all bits of u64.
  std::int64_t integer(Index i) const;
  Tensor to_small(DType dtype, const Rounding& rounding) const;
  template <class T>
  bool is_bits_of() const {  // 16-bit floats, bools and small numbers are seen through their bits
    if (std::is_same_v<T, std::uint16_t>) return dtype_ == DType::f16 || dtype_ == DType::bf16;
    if (std::is_same_v<T, std::int8_t>) return is_signed_small_integer(dtype_);
    if (std::is_same_v<T, std::uint8_t>) {
      return dtype_ == DType::boolean || is_small_float(dtype_) || is_small_integer(dtype_);
    }
    return false;
  }

  DType dtype_ = DType::f32;
  Dims dims_;
  Index elements_ = 1;
  std::shared_ptr<std::byte> owned_;      // shared between copies until one of them is written to
  std::shared_ptr<const void> borrowed_;  // keeps data_ alive when it is somebody else's
  const std::byte* data_ = nullptr;       // null: one zero of the default tensor
};

}  // namespace rtai::ir
