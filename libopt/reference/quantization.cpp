// Between real numbers and small integers, as ONNX defines it.
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <concepts>
#include <optional>

namespace rtai::reference {
namespace {

using ir::Dims;
using ir::Tensor;

using Quantized = Types<std::int8_t, std::uint8_t, std::int16_t, std::uint16_t>;
using Dequantizable = Types<std::int8_t, std::uint8_t, std::int16_t, std::uint16_t, std::int32_t>;

/// Which scale each element of a tensor has: that of its place along an axis, by blocks.
struct ScaleMap {
  AxisView view;
  Index block = 1;        // neighbours along the axis that share a scale
  Index scale_inner = 1;  // 1: one scale for all places beside the axis

  Index of(Index element) const {
    const Index along = element / view.inner % view.size;
    if (scale_inner == 1 && block == 1) return along;
    const Index outer = element / (view.inner * view.size);
    const Index blocks = (view.size + block - 1) / block;
    return (outer * blocks + along / block) * view.inner + element % view.inner;
  }
};

/// Per tensor (one scale), per axis (a vector of them) or by blocks (as many dimensions as src).
Result<ScaleMap> scale_map(const Call& call) {
  const Tensor& src = call[0];
  const Tensor& scale = call[1];
  if (call.has(2) && call[2].elements() != scale.elements()) {
    return invalid_input(
        fmt::format("scale {} with zero point {}", describe(scale), describe(call[2])));
  }
  const Index block = call.attributes().integer("block_size", 0);
  if (scale.elements() == 1 && block == 0) {
    return ScaleMap{.view = {.outer = 1, .size = 1, .inner = std::max<Index>(src.elements(), 1)}};
  }
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", 1), src.rank()));
  const AxisView view = around_axis(src.dims(), axis);
  if (block == 0) {
    if (scale.rank() == 1 && scale.elements() == view.size) return ScaleMap{.view = view};
    return invalid_input(
        fmt::format("scale {} for axis {} of {}", describe(scale), axis, describe(src)));
  }
  Dims expected = src.dims();
  if (block > 0) {
    auto& blocks = expected[static_cast<std::size_t>(axis)];
    blocks = blocks / block + (blocks % block == 0 ? 0 : 1);
  }
  if (block < 1 || scale.dims() != expected) {
    return invalid_input(
        fmt::format("scale {} for blocks of {} of {}", describe(scale), block, describe(src)));
  }
  return ScaleMap{.view = view, .block = block, .scale_inner = 0};
}

/// The least and the largest number of an integer type.
struct Limits {
  double low;
  double high;
};

template <class Q>
Limits limits_of(DType dtype) {
  const double count = std::ldexp(1.0, static_cast<int>(ir::packed_bits(dtype)));
  if constexpr (std::signed_integral<Q>) return {-count / 2, count / 2 - 1};
  return {0, count - 1};
}

/// round(x / scale) + zero_point, ties to even, saturated; NaN becomes the zero point.
template <class Q>
Q quantize(double scaled, std::int32_t zero_point, Limits limits) {
  const double shifted = std::nearbyint(scaled == scaled ? scaled : 0.0) + zero_point;
  return static_cast<Q>(std::clamp(shifted, limits.low, limits.high));
}

/// The type whose C++ type stores integers of 4 and 2 bits.
DType storage_of(DType dtype) {
  if (!ir::is_small_integer(dtype)) return dtype;
  return ir::is_signed_small_integer(dtype) ? DType::i8 : DType::u8;
}

/// Floats that numbers are quantized to; f8e8m0 is for scales alone.
bool is_quantized_float(DType dtype) {
  return ir::is_small_float(dtype) && dtype != DType::f8e8m0;
}

/// In f32, which holds every scale of f8e8m0.
Result<Tensor> scale_of(const Call& call) {
  if (call[1].dtype() == DType::f8e8m0) return call.convert(call[1], DType::f32);
  RTAI_TRY_VOID(expect_type(call[1], DType::f32, "scale"));
  return call[1];
}

/// In f32; nothing if it is not given.
Result<std::optional<Tensor>> real_zero_point(const Call& call) {
  if (!call.has(2)) return std::nullopt;
  RTAI_TRY(Tensor zero_point, call.convert(call[2], DType::f32));
  return zero_point;
}

/// x / scale + zero_point, rounded to a small float.
Result<Tensor> quantize_to_floats(
    const Call& call, const Tensor& src, const Tensor& scale, const ScaleMap& map, DType dtype) {
  RTAI_TRY(const ir::Rounding rounding, rounding_of(call.attributes()));
  RTAI_TRY(const std::optional<Tensor> zero_point, real_zero_point(call));
  RTAI_TRY(Tensor result, call.allocate(dtype, src.dims()));
  const float* from = src.data<float>().data();
  const float* scales = scale.data<float>().data();
  std::uint8_t* dst = result.mutable_data<std::uint8_t>().data();
  for (Index i = 0; i < src.elements(); ++i) {
    const Index s = map.of(i);
    const float shift = zero_point ? zero_point->data<float>().data()[s] : 0.0f;
    dst[i] = ir::to_small_float(dtype, from[i] / scales[s] + shift, rounding);
  }
  return result;
}

/// (x - zero_point) * scale of small floats.
Result<Tensor> dequantize_floats(const Call& call, const Tensor& scale, const ScaleMap& map) {
  RTAI_TRY(const std::optional<Tensor> zero_point, real_zero_point(call));
  RTAI_TRY(Tensor result, call.convert(call[0], DType::f32));
  const float* scales = scale.data<float>().data();
  float* dst = result.mutable_data<float>().data();
  for (Index i = 0; i < result.elements(); ++i) {
    const Index s = map.of(i);
    dst[i] = (dst[i] - (zero_point ? zero_point->data<float>().data()[s] : 0.0f)) * scales[s];
  }
  return result;
}

}  // namespace

namespace op {

Result<Tensors> quantize_linear(const Call& call) {
  RTAI_TRY(const Tensor scale, scale_of(call));
  RTAI_TRY(const Tensor src, call.convert(call[0], DType::f32));
  RTAI_TRY(const ScaleMap map, scale_map(call));
  DType dtype = dtype_from_name(call.attributes().text("output_dtype", "u8")).value_or(DType::u8);
  if (call.has(2)) dtype = call[2].dtype();
  if (is_quantized_float(dtype)) return one(quantize_to_floats(call, src, scale, map, dtype));
  return one(with_type(Quantized{}, storage_of(dtype), [&](auto zero) -> Result<Tensor> {
    using Q = decltype(zero);
    const Limits limits = limits_of<Q>(dtype);
    RTAI_TRY(Tensor result, call.allocate(dtype, src.dims()));
    const float* from = src.data<float>().data();
    const float* scales = scale.data<float>().data();
    Q* dst = result.mutable_data<Q>().data();
    for (Index i = 0; i < src.elements(); ++i) {
      const Index s = map.of(i);
      const std::int32_t zero_point = call.has(2) ? call[2].data<Q>().data()[s] : 0;
      dst[i] = quantize<Q>(static_cast<double>(from[i] / scales[s]), zero_point, limits);
    }
    return result;
  }));
}

Result<Tensors> dequantize_linear(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY(const Tensor scale, scale_of(call));
  if (call.has(2)) RTAI_TRY_VOID(expect_same_type(src, call[2]));
  RTAI_TRY(const ScaleMap map, scale_map(call));
  if (is_quantized_float(src.dtype())) return one(dequantize_floats(call, scale, map));
  return one(with_type(Dequantizable{}, storage_of(src.dtype()), [&](auto zero) -> Result<Tensor> {
    using Q = decltype(zero);
    RTAI_TRY(Tensor result, call.allocate(DType::f32, src.dims()));
    const Q* from = src.data<Q>().data();
    const float* scales = scale.data<float>().data();
    float* dst = result.mutable_data<float>().data();
    for (Index i = 0; i < src.elements(); ++i) {
      const Index s = map.of(i);
      const auto zero_point =
          static_cast<std::int64_t>(call.has(2) ? call[2].data<Q>().data()[s] : Q{0});
      dst[i] = static_cast<float>(static_cast<std::int64_t>(from[i]) - zero_point) * scales[s];
    }
    return result;
  }));
}

/// u8 over the range of the tensor, which always includes 0.
Result<Tensors> dynamic_quantize_linear(const Call& call) {
  const Tensor& src = call[0];
  RTAI_TRY_VOID(expect_type(src, DType::f32, "src"));
  float low = 0;
  float high = 0;
  for (const float x : src.data<float>()) {
    low = std::min(low, x);
    high = std::max(high, x);
  }
  // A tensor of zeros has no range; any scale gives zeros.
  const float scale = high > low ? (high - low) / 255.0f : 1.0f;
  const Limits limits = limits_of<std::uint8_t>(DType::u8);
  const auto zero_point = quantize<std::uint8_t>(static_cast<double>(-low / scale), 0, limits);
  RTAI_TRY(Tensor result, call.allocate(DType::u8, src.dims()));
  std::transform(src.data<float>().begin(), src.data<float>().end(),
                 result.mutable_data<std::uint8_t>().begin(), [&](float x) {
                   return quantize<std::uint8_t>(static_cast<double>(x / scale), zero_point,
                                                 limits);
                 });
  return Tensors{result, Tensor::scalar(scale), Tensor::scalar(zero_point)};
}

}  // namespace op
}  // namespace rtai::reference
