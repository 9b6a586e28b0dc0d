// Softmax and layer normalization, in double between reading and writing.
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rtai::reference {
namespace {

using ir::Dims;
using ir::Tensor;

enum class Scale { linear, logarithmic };

/// exp(x_i - max) / sum, or its logarithm, for `size` elements `step` apart.
///
/// A row of -infinity alone gives NaN, as the formula says.
template <class T>
void softmax_row(const T* src, T* dst, Index size, Index step, Scale scale) {
  T largest = src[0];
  for (Index i = 1; i < size; ++i) {
    const T x = src[i * step];
    largest = largest != largest || largest > x ? largest : x;
  }
  double sum = 0;
  for (Index i = 0; i < size; ++i)
    sum += std::exp(static_cast<double>(src[i * step] - largest));
  for (Index i = 0; i < size; ++i) {
    const auto x = static_cast<double>(src[i * step] - largest);
    dst[i * step] = static_cast<T>(scale == Scale::linear ? std::exp(x) / sum : x - std::log(sum));
  }
}

Result<Tensors> softmax_along_axis(const Call& call, Scale scale) {
  const Tensor& src = call[0];
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", -1), src.rank()));
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), src.dims()));
  if (result.elements() == 0) return Tensors{result};
  const AxisView view = around_axis(src.dims(), axis);
  RTAI_TRY_VOID(with_type(Floats{}, src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    for (Index o = 0; o < view.outer; ++o) {
      for (Index i = 0; i < view.inner; ++i) {
        const Index at = o * view.size * view.inner + i;
        softmax_row(src.data<T>().data() + at, result.mutable_data<T>().data() + at, view.size,
                    view.inner, scale);
      }
    }
  }));
  return Tensors{result};
}

/// weight and bias of LayerNormalization must broadcast to the normalized dimensions.
Result<Dims> parameter_strides(const Tensor& parameter, const Tensor& src) {
  RTAI_TRY_VOID(expect_same_type(src, parameter));
  RTAI_TRY(const Dims dims, broadcast(parameter.dims(), src.dims()));
  if (dims == src.dims()) return broadcast_strides(parameter.dims(), src.dims());
  return invalid_input(
      fmt::format("{} does not broadcast to {}", describe(parameter), describe(src)));
}

/// (x - mean) / sqrt(variance + epsilon) over `size` elements; mean and 1 / deviation as they are.
template <class T>
void normalize_row(
    const T* src, T* dst, Index size, double epsilon, float& mean_out, float& inverse_out) {
  double mean = 0;
  for (Index i = 0; i < size; ++i)
    mean += static_cast<double>(src[i]);
  mean /= static_cast<double>(size);
  double variance = 0;
  for (Index i = 0; i < size; ++i) {
    const double centered = static_cast<double>(src[i]) - mean;
    variance += centered * centered;
  }
  const double inverse = 1.0 / std::sqrt(variance / static_cast<double>(size) + epsilon);
  for (Index i = 0; i < size; ++i) {
    dst[i] = static_cast<T>((static_cast<double>(src[i]) - mean) * inverse);
  }
  mean_out = static_cast<float>(mean);
  inverse_out = static_cast<float>(inverse);
}

/// Over the dimensions from `axis` on: result, mean, 1 / deviation.
Result<Tensors> normalize_layers(const Call& call, Index axis, double epsilon) {
  const Tensor& src = call[0];
  Dims statistics = src.dims();
  std::fill(statistics.begin() + axis, statistics.end(), 1);
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), src.dims()));
  RTAI_TRY(Tensor mean, call.allocate(DType::f32, statistics));
  RTAI_TRY(Tensor inverse, call.allocate(DType::f32, statistics));
  RTAI_TRY(const Dims weight_strides, parameter_strides(call[1], src));
  Dims bias_strides(src.dims().size(), 0);
  if (call.has(2)) {
    RTAI_TRY(bias_strides, parameter_strides(call[2], src));
  }
  if (src.elements() == 0) return Tensors{result, mean, inverse};
  RTAI_TRY_VOID(with_type(Floats{}, src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const Index rows = mean.elements();
    const Index size = src.elements() / rows;
    T* dst = result.mutable_data<T>().data();
    float* means = mean.mutable_data<float>().data();
    float* inverses = inverse.mutable_data<float>().data();
    for (Index r = 0; r < rows; ++r) {
      normalize_row(src.data<T>().data() + r * size, dst + r * size, size, epsilon, means[r],
                    inverses[r]);
    }
    const T* weight = call[1].data<T>().data();
    const T none{0};
    const T* bias = call.has(2) ? call[2].data<T>().data() : &none;
    for_each_row<2>(src.dims(), {weight_strides, bias_strides}, [&](const Row<2>& row) {
      for (Index i = 0; i < row.count; ++i) {
        T& x = dst[row.dst + i];
        x = x * weight[row.at[0] + i * row.step[0]] + bias[row.at[1] + i * row.step[1]];
      }
    });
  }));
  return Tensors{result, mean, inverse};
}

}  // namespace

namespace op {

Result<Tensors> softmax(const Call& call) {
  return softmax_along_axis(call, Scale::linear);
}

Result<Tensors> log_softmax(const Call& call) {
  return softmax_along_axis(call, Scale::logarithmic);
}

Result<Tensors> layer_normalization(const Call& call) {
  RTAI_TRY(const Index axis, normalize_axis(call.attributes().integer("axis", -1), call[0].rank()));
  return normalize_layers(call, axis, call.attributes().real("epsilon", 1e-5f));
}

Result<Tensors> layer_norm(const Call& call) {
  RTAI_TRY_VOID(expect_rank(call[0], 2, "src"));
  RTAI_TRY(Tensors results, normalize_layers(call, 1, call.attributes().real("epsilon", 1e-5f)));
  return Tensors{results[0]};
}

}  // namespace op
}  // namespace rtai::reference
