// Shape and TensorView: how every tensor is passed around. Neither owns memory.
#pragma once

#include "runtime/base/assert.h"
#include "runtime/base/checked.h"
#include "runtime/base/dtype.h"
#include "runtime/base/result.h"

#include <array>
#include <initializer_list>
#include <span>
#include <string>

namespace rtai {

/// Up to four dimensions, outermost first, stored inline: no allocation.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  constexpr Shape() = default;
  constexpr Shape(std::initializer_list<Index> dims) {
    RTAI_ASSERT(dims.size() <= static_cast<std::size_t>(kMaxRank), "rank is at most 4");
    for (const Index dim : dims)
      dims_[static_cast<std::size_t>(rank_++)] = dim;
  }

  constexpr int rank() const { return rank_; }
  constexpr Index operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  constexpr Index elements() const {
    Index product = 1;
    for (int i = 0; i < rank_; ++i)
      product *= dims_[static_cast<std::size_t>(i)];
    return product;
  }
  /// The innermost dimension; 1 for a scalar.
  constexpr Index inner() const { return rank_ == 0 ? 1 : (*this)[rank_ - 1]; }

  friend constexpr bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<Index, kMaxRank> dims_{};
  int rank_ = 0;
};

/// A typed, row-major view: parameter or local, never a member.
template <class T>
class TensorView {
 public:
  /// Errors: invalid_input if `data` holds fewer than shape.elements() elements.
  static Result<TensorView> make(std::span<T> data, Shape shape) {
    if (std::ssize(data) < shape.elements()) {
      return Error{ErrorCode::invalid_input, "tensor needs " + std::to_string(shape.elements()) +
                                                 " elements, has " + std::to_string(data.size())};
    }
    return TensorView(data.data(), shape);
  }
  TensorView(T* data, Shape shape) : data_(data), shape_(shape) {}

  const Shape& shape() const { return shape_; }
  T* data() const { return data_; }
  std::span<T> flat() const { return {data_, static_cast<std::size_t>(shape_.elements())}; }

  /// The innermost dimension at row i of the tensor seen as [rows, inner].
  std::span<T> row(Index i) const {
    RTAI_ASSERT(i >= 0 && (i + 1) * shape_.inner() <= shape_.elements(), "row inside the tensor");
    return {data_ + i * shape_.inner(), static_cast<std::size_t>(shape_.inner())};
  }

 private:
  T* data_;
  Shape shape_;
};

}  // namespace rtai
