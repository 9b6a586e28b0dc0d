#include "libopt/reference/internal/call.h"

#include "runtime/base/checked.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::reference {
namespace {

constexpr std::size_t kMaxRank = 32;  // Unsqueeze could otherwise be used to grow it without end
constexpr Index kMostElements = Index{1} << 60;
constexpr Index kLongestList = Index{1} << 20;  // axes, sizes of a split, ...

template <class From, class To>
void convert_elements(std::span<const From> src, std::span<To> dst, To (*convert)(From)) {
  std::transform(src.begin(), src.end(), dst.begin(), convert);
}

}  // namespace

Error wrong_type(DType dtype) {
  return invalid_input(fmt::format("element type {} is not allowed here", dtype_name(dtype)));
}

Result<ir::Rounding> rounding_of(const ir::Attributes& attributes) {
  using Powers = ir::Rounding::Powers;
  ir::Rounding rounding{.saturate = attributes.integer("saturate", 1) != 0};
  const std::string mode = attributes.text("round_mode", "up");
  if (mode == "up") return rounding;
  if (mode != "down" && mode != "nearest") {
    return invalid_input(
        fmt::format("round_mode is '{}', expected 'up', 'down' or 'nearest'", mode));
  }
  rounding.powers = mode == "down" ? Powers::down : Powers::nearest;
  return rounding;
}

std::string describe(const ir::Tensor& tensor) {
  return fmt::format("{}{}", dtype_name(tensor.dtype()), ir::to_string(tensor.dims()));
}

Result<void> expect_possible_dims(std::span<const Index> dims) {
  if (dims.size() > kMaxRank) {
    return invalid_input(fmt::format("rank {} is above {}", dims.size(), kMaxRank));
  }
  ir::Dims filled(dims.begin(), dims.end());
  std::replace(filled.begin(), filled.end(), Index{0}, Index{1});
  RTAI_TRY(const Index elements, ir::element_count(filled));
  if (elements <= kMostElements) return {};
  return invalid_input(fmt::format("impossible dimensions {}", ir::to_string(dims)));
}

Result<void> Call::reserve(DType dtype, std::span<const Index> dims) const {
  RTAI_TRY_VOID(expect_possible_dims(dims));
  RTAI_TRY(const Index elements, ir::element_count(dims));
  const std::optional<Index> bytes = checked_mul(elements, dtype_bytes(dtype));
  if (!bytes || *bytes > budget_.bytes) {
    return Error{ErrorCode::unsupported,
                 fmt::format("a tensor {}{} passes the memory limit; {} bytes are left",
                             dtype_name(dtype), ir::to_string(dims), budget_.bytes)};
  }
  budget_.bytes -= *bytes;
  return spend(elements);
}

Result<ir::Tensor> Call::allocate(DType dtype, ir::Dims dims) const {
  RTAI_TRY_VOID(reserve(dtype, dims));
  return ir::Tensor::zeros(dtype, std::move(dims));
}

Result<void> Call::spend(Index work) const {
  if (work > budget_.work) {
    return Error{ErrorCode::unsupported, "the computation passes the work limit"};
  }
  budget_.work -= work;
  return {};
}

Result<void> Call::spend(Index a, Index b, Index c) const {
  const std::optional<Index> ab = checked_mul(a, b);
  const std::optional<Index> abc = ab ? checked_mul(*ab, c) : std::nullopt;
  return spend(abc.value_or(std::numeric_limits<Index>::max()));
}

Result<ir::Tensor> Call::convert(const ir::Tensor& tensor,
                                 DType dtype,
                                 const ir::Rounding& rounding) const {
  if (tensor.dtype() == dtype) return tensor;
  RTAI_TRY_VOID(reserve(dtype, tensor.dims()));
  const bool to_f16 = dtype == DType::f16;
  if (tensor.dtype() != DType::f32 && dtype != DType::f32) return tensor.converted(dtype, rounding);
  if (tensor.dtype() == DType::f16 || tensor.dtype() == DType::bf16) {
    RTAI_TRY(ir::Tensor wide, ir::Tensor::zeros(dtype, tensor.dims()));
    convert_elements(tensor.data<std::uint16_t>(), wide.mutable_data<float>(),
                     tensor.dtype() == DType::f16 ? &f16_to_f32 : &bf16_to_f32);
    return wide;
  }
  if (to_f16 || dtype == DType::bf16) {
    RTAI_TRY(ir::Tensor narrow, ir::Tensor::zeros(dtype, tensor.dims()));
    convert_elements(tensor.data<float>(), narrow.mutable_data<std::uint16_t>(),
                     to_f16 ? &f32_to_f16 : &f32_to_bf16);
    return narrow;
  }
  return tensor.converted(dtype, rounding);
}

Result<std::vector<Index>> Call::indices(const ir::Tensor& tensor) const {
  RTAI_TRY_VOID(reserve(DType::i64, tensor.dims()));
  return tensor.to_indices();
}

Result<Index> normalize_axis(Index axis, Index rank) {
  if (axis < -rank || axis >= rank) {
    return invalid_input(fmt::format("axis {} is outside of [{}, {})", axis, -rank, rank));
  }
  return axis < 0 ? axis + rank : axis;
}

Result<std::vector<Index>> normalize_axes(std::span<const Index> axes, Index rank) {
  std::vector<Index> normal;
  for (const Index axis : axes) {
    RTAI_TRY(const Index from_front, normalize_axis(axis, rank));
    normal.push_back(from_front);
  }
  std::sort(normal.begin(), normal.end());
  if (std::adjacent_find(normal.begin(), normal.end()) != normal.end()) {
    return invalid_input(fmt::format("an axis stands twice in {}", ir::to_string(axes)));
  }
  return normal;
}

Result<std::vector<Index>> index_list(const ir::Tensor& tensor, std::string_view what) {
  const bool is_index = tensor.dtype() == DType::i64 || tensor.dtype() == DType::i32;
  if (!is_index || tensor.rank() > 1 || tensor.elements() > kLongestList) {
    return invalid_input(fmt::format("{} is {}, expected a list of i64", what, describe(tensor)));
  }
  return tensor.to_indices();
}

Result<Index> index_scalar(const ir::Tensor& tensor, std::string_view what) {
  const bool is_index = tensor.dtype() == DType::i64 || tensor.dtype() == DType::i32;
  if (!is_index || tensor.elements() != 1) {
    return invalid_input(fmt::format("{} is {}, expected one i64", what, describe(tensor)));
  }
  return tensor.to_indices()[0];
}

Result<void> expect_same_type(const ir::Tensor& a, const ir::Tensor& b) {
  if (a.dtype() == b.dtype()) return {};
  return invalid_input(
      fmt::format("element types {} and {} differ", dtype_name(a.dtype()), dtype_name(b.dtype())));
}

Result<void> expect_type(const ir::Tensor& tensor, DType dtype, std::string_view what) {
  if (tensor.dtype() == dtype) return {};
  return invalid_input(
      fmt::format("{} is {}, expected {}", what, describe(tensor), dtype_name(dtype)));
}

Result<void> expect_rank(const ir::Tensor& tensor, Index rank, std::string_view what) {
  if (tensor.rank() == rank) return {};
  return invalid_input(fmt::format("{} is {}, expected rank {}", what, describe(tensor), rank));
}

}  // namespace rtai::reference
