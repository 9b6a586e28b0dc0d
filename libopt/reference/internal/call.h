// What an operator of the interpreter is given, and the checks that all of them share.
#pragma once

#include "libopt/ir/graph.h"

#include <concepts>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace rtai::reference {

using Tensors = std::vector<ir::Tensor>;

/// What is left of the limits of a run.
struct Budget {
  Index bytes = 0;
  Index work = 0;
};

/// One evaluation of one operator.
class Call {
 public:
  Call(const ir::Node& node,
       std::span<const ir::Tensor* const> inputs,
       std::span<const Index> offsets,
       Budget& budget)
      : node_(node), inputs_(inputs), offsets_(offsets), budget_(budget) {}

  const ir::Attributes& attributes() const { return node_.attributes(); }
  std::size_t output_count() const { return node_.outputs().size(); }
  std::size_t input_count() const { return inputs_.size(); }
  bool has(std::size_t i) const { return i < inputs_.size() && inputs_[i] != nullptr; }
  /// Input i, which is there: required ones are checked before the operator is called.
  const ir::Tensor& operator[](std::size_t i) const { return *inputs_[i]; }
  std::span<const Index> offsets() const { return offsets_; }

  /// All zeros. Errors: unsupported if a limit would be passed; invalid_input as element_count.
  Result<ir::Tensor> allocate(DType dtype, ir::Dims dims) const;
  /// Counts the memory of a tensor that somebody else is about to allocate.
  Result<void> reserve(DType dtype, std::span<const Index> dims) const;
  /// Counts `work` element operations. Errors: unsupported if the limit would be passed.
  Result<void> spend(Index work) const;
  /// Counts a * b * c of them, without overflow.
  Result<void> spend(Index a, Index b, Index c) const;

  /// `tensor` as another element type; counted.
  Result<ir::Tensor> convert(const ir::Tensor& tensor,
                             DType dtype,
                             const ir::Rounding& rounding = {}) const;
  /// Its elements as indices; counted.
  Result<std::vector<Index>> indices(const ir::Tensor& tensor) const;

 private:
  const ir::Node& node_;
  std::span<const ir::Tensor* const> inputs_;
  std::span<const Index> offsets_;
  Budget& budget_;
};

/// The attributes saturate and round_mode of Cast and its like. Errors: invalid_input.
Result<ir::Rounding> rounding_of(const ir::Attributes& attributes);

/// "f32[2, 3]"
std::string describe(const ir::Tensor& tensor);

/// Errors: invalid_input if the product of the dimensions, zeros left out, is above 2^60: so
/// strides, parts of the product and sums of two dimensions are always numbers.
Result<void> expect_possible_dims(std::span<const Index> dims);

/// `axis` counted from the front. Errors: invalid_input outside of [-rank, rank).
Result<Index> normalize_axis(Index axis, Index rank);
/// Each of `axes` counted from the front, in ascending order. Errors: as above, or one given twice.
Result<std::vector<Index>> normalize_axes(std::span<const Index> axes, Index rank);

/// The elements of a short i32 or i64 tensor of rank 0 or 1. Errors: invalid_input.
Result<std::vector<Index>> index_list(const ir::Tensor& tensor, std::string_view what);
/// The element of an i32 or i64 tensor of one element. Errors: invalid_input.
Result<Index> index_scalar(const ir::Tensor& tensor, std::string_view what);

/// Errors: invalid_input if the element types differ.
Result<void> expect_same_type(const ir::Tensor& a, const ir::Tensor& b);
Result<void> expect_type(const ir::Tensor& tensor, DType dtype, std::string_view what);
Result<void> expect_rank(const ir::Tensor& tensor, Index rank, std::string_view what);

// --- from an element type to a C++ type

template <class... Ts>
struct Types {};
using Floats = Types<float, double>;
using SignedNumbers = Types<float, double, std::int8_t, std::int16_t, std::int32_t, std::int64_t>;
using Integers = Types<std::int8_t,
                       std::uint8_t,
                       std::int16_t,
                       std::uint16_t,
                       std::int32_t,
                       std::uint32_t,
                       std::int64_t,
                       std::uint64_t>;
using Numbers = Types<float,
                      double,
                      std::int8_t,
                      std::uint8_t,
                      std::int16_t,
                      std::uint16_t,
                      std::int32_t,
                      std::uint32_t,
                      std::int64_t,
                      std::uint64_t>;
using NumbersAndBool = Types<float,
                             double,
                             bool,
                             std::int8_t,
                             std::uint8_t,
                             std::int16_t,
                             std::uint16_t,
                             std::int32_t,
                             std::uint32_t,
                             std::int64_t,
                             std::uint64_t>;

Error wrong_type(DType dtype);

/// f(T{}) for the T of the list that stores `dtype`, of which nothing is returned if f returns
/// nothing. Errors: invalid_input if none does.
template <class... Ts, class F>
auto with_type(Types<Ts...> /*list*/, DType dtype, F&& f) {
  using Returned = std::common_type_t<std::invoke_result_t<F, Ts>...>;
  if constexpr (std::is_void_v<Returned>) {
    const bool found = ((dtype == ir::dtype_of<Ts>() && (f(Ts{}), true)) || ...);
    return found ? Result<void>() : Result<void>(wrong_type(dtype));
  } else {
    Returned returned = wrong_type(dtype);
    static_cast<void>(((dtype == ir::dtype_of<Ts>() && (returned = f(Ts{}), true)) || ...));
    return returned;
  }
}

/// f(T{}) for the T that holds one element's bits: for operators that only move elements.
template <class F>
auto with_storage(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f(float{});
    case DType::f64:
      return f(double{});
    case DType::i8:
      return f(std::int8_t{});
    case DType::i16:
      return f(std::int16_t{});
    case DType::i32:
      return f(std::int32_t{});
    case DType::u32:
      return f(std::uint32_t{});
    case DType::i64:
      return f(std::int64_t{});
    case DType::u64:
      return f(std::uint64_t{});
    case DType::u8:
    case DType::boolean:
    case DType::f8e4m3fn:
    case DType::f8e4m3fnuz:
    case DType::f8e5m2:
    case DType::f8e5m2fnuz:
    case DType::f8e8m0:
    case DType::f4e2m1:
    case DType::i4:
    case DType::u4:
    case DType::i2:
    case DType::u2:
      return f(std::uint8_t{});
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      break;
  }
  return f(std::uint16_t{});
}

// --- arithmetic that wraps around for integers, where C++ leaves overflow undefined

template <class T, class F>
T wrapping(T a, T b, F f) {
  if constexpr (std::integral<T>) {
    return static_cast<T>(f(static_cast<std::uint64_t>(a), static_cast<std::uint64_t>(b)));
  } else {
    return f(a, b);
  }
}
template <class T>
T wrapping_add(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x + y; });
}
template <class T>
T wrapping_sub(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x - y; });
}
template <class T>
T wrapping_mul(T a, T b) {
  return wrapping(a, b, [](auto x, auto y) { return x * y; });
}

/// The result of an operator with one output.
inline Result<Tensors> one(Result<ir::Tensor> tensor) {
  if (!tensor) return std::move(tensor).error();
  return Tensors{*std::move(tensor)};
}

}  // namespace rtai::reference
