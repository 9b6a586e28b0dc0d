// activation and add.
#include "libopt/grad/internal/operators.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace rtai::grad {
namespace {

/// f(x) and f'(x).
struct Point {
  float value;
  float slope;
};

Point gelu(float x) {
  const float share = 0.5f * (1 + std::erf(x / std::numbers::sqrt2_v<float>));
  const float density =
      std::exp(-0.5f * x * x) * std::numbers::inv_sqrtpi_v<float> / std::numbers::sqrt2_v<float>;
  return {x * share, share + x * density};
}

Point gelu_tanh(float x) {
  constexpr float kCubic = 0.044715f;
  constexpr float kScale = std::numbers::sqrt2_v<float> * std::numbers::inv_sqrtpi_v<float>;
  const float t = std::tanh(kScale * (x + kCubic * x * x * x));
  const float inner = kScale * (1 + 3 * kCubic * x * x);
  return {0.5f * x * (1 + t), 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * inner};
}

Point relu(float x) {
  return x > 0 ? Point{x, 1} : Point{0, 0};
}

Point hyperbolic(float x) {
  const float t = std::tanh(x);
  return {t, 1 - t * t};
}

Point sigmoid(float x) {
  const float s = 1 / (1 + std::exp(-x));
  return {s, s * (1 - s)};
}

Point silu(float x) {
  const Point s = sigmoid(x);
  return {x * s.value, s.value + x * s.slope};
}

using Curve = Point (*)(float x);

Curve curve_of(const ir::Node& node) {
  const std::string kind = node.attributes().text("kind", "");
  if (kind == "gelu") return gelu;
  if (kind == "gelu_tanh") return gelu_tanh;
  if (kind == "relu") return relu;
  if (kind == "tanh") return hyperbolic;
  if (kind == "sigmoid") return sigmoid;
  if (kind == "silu") return silu;
  return nullptr;
}

Result<ir::Tensor> activate(const Call& call) {
  const Curve curve = curve_of(call.node);
  if (curve == nullptr)
    return Error{ErrorCode::unsupported, fmt::format("activation '{}' has no derivative",
                                                     call.node.attributes().text("kind", ""))};
  ir::Tensor result = call[0];
  for (float& x : result.mutable_data<float>())
    x = curve(x).value;
  return result;
}

void activate_back(const Call& call, const ir::Tensor& d_dst, Slots slots) {
  const Curve curve = curve_of(call.node);
  const auto src = call[0].data<float>();
  const auto d = d_dst.data<float>();
  const auto d_src = slots[0]->mutable_data<float>();
  for (std::size_t i = 0; i < src.size(); ++i)
    d_src[i] += curve(src[i]).slope * d[i];
}

Result<ir::Tensor> add(const Call& call) {
  if (call[0].dims() != call[1].dims())
    return Error{ErrorCode::unsupported, "a sum with broadcasting has no derivative"};
  ir::Tensor result = call[0];
  rows_of(result) += rows_of(call[1]);
  return result;
}

void add_back(const Call&, const ir::Tensor& d_dst, Slots slots) {
  for (ir::Tensor* slot : slots) {
    if (slot != nullptr) rows_of(*slot) += rows_of(d_dst);
  }
}

}  // namespace

const Operator kActivation = {ir::Op::activation, activate, activate_back};
const Operator kAdd = {ir::Op::add, add, add_back};

}  // namespace rtai::grad
