// Arithmetic element by element, with broadcasting.
#include "libopt/reference/internal/operators.h"
#include "libopt/reference/internal/walk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace rtai::reference {
namespace {

using ir::Tensor;

// --- one operand

template <class List, class F>
Result<Tensors> unary(const Call& call, List list, F f) {
  const Tensor& src = call[0];
  RTAI_TRY(Tensor result, call.allocate(src.dtype(), src.dims()));
  RTAI_TRY_VOID(with_type(list, src.dtype(), [&](auto zero) {
    using T = decltype(zero);
    const std::span<const T> from = src.data<T>();
    std::transform(from.begin(), from.end(), result.mutable_data<T>().begin(),
                   [&](T x) { return static_cast<T>(f(x)); });
  }));
  return one(std::move(result));
}

template <class F>
Result<Tensors> unary_float(const Call& call, F f) {
  return unary(call, Floats{}, f);
}

template <class T>
T gelu_erf(T x) {
  return T{0.5} * x * (T{1} + std::erf(x / std::numbers::sqrt2_v<T>));
}

template <class T>
T gelu_tanh(T x) {
  constexpr T kSqrt2OverPi = std::numbers::sqrt2_v<T> * std::numbers::inv_sqrtpi_v<T>;
  return T{0.5} * x * (T{1} + std::tanh(kSqrt2OverPi * (x + T(0.044715) * x * x * x)));
}

// --- two and more operands

template <class List, class F>
Result<Tensor> binary(const Call& call, List list, const Tensor& a, const Tensor& b, F f) {
  RTAI_TRY_VOID(expect_same_type(a, b));
  RTAI_TRY(const PairWalk walk, walk_over(a, b));
  RTAI_TRY(Tensor result, call.allocate(a.dtype(), walk.dims));
  RTAI_TRY_VOID(with_type(list, a.dtype(), [&](auto zero) {
    using T = decltype(zero);
    fill(walk, a.data<T>().data(), b.data<T>().data(), result.mutable_data<T>().data(), f);
  }));
  return result;
}

/// All inputs from left to right.
template <class List, class F>
Result<Tensors> fold(const Call& call, List list, F f) {
  Tensor result = call[0];
  for (std::size_t i = 1; i < call.input_count(); ++i) {
    RTAI_TRY(result, binary(call, list, result, call[i], f));
  }
  // One input alone must be of an allowed type, too.
  RTAI_TRY_VOID(with_type(list, result.dtype(), [](auto) {}));
  return one(std::move(result));
}

/// Errors: invalid_input if an integer divisor is zero.
Result<void> expect_no_zero(const Tensor& divisor) {
  return with_type(Numbers{}, divisor.dtype(), [&](auto zero) -> Result<void> {
    using T = decltype(zero);
    if constexpr (std::integral<T>) {
      const std::span<const T> values = divisor.data<T>();
      if (std::find(values.begin(), values.end(), T{0}) != values.end()) {
        return invalid_input("division of an integer by zero");
      }
    }
    return {};
  });
}

template <class T>
T divide(T a, T b) {
  if constexpr (std::signed_integral<T>) {
    if (b == T{-1}) return wrapping_sub(T{0}, a);  // the smallest value has no negative
  }
  return static_cast<T>(a / b);
}

/// The remainder with the sign of the divisor.
template <class T>
T floor_remainder(T a, T b) {
  if constexpr (std::signed_integral<T>) {
    if (b == T{-1}) return T{0};
    const T rest = static_cast<T>(a % b);
    return rest != 0 && (rest < 0) != (b < 0) ? static_cast<T>(rest + b) : rest;
  } else {
    return static_cast<T>(a % b);
  }
}

/// The remainder with the sign of the dividend.
template <class T>
T truncated_remainder(T a, T b) {
  if constexpr (std::floating_point<T>) {
    return std::fmod(a, b);
  } else {
    if constexpr (std::signed_integral<T>) {
      if (b == T{-1}) return T{0};
    }
    return static_cast<T>(a % b);
  }
}

template <class T>
T integer_power(T base, std::int64_t exponent) {
  if (exponent < 0) {
    if (base == T{1}) return T{1};
    if constexpr (std::signed_integral<T>) {
      if (base == T{-1}) return exponent % 2 == 0 ? T{1} : T{-1};
    }
    return T{0};
  }
  T result{1};
  for (; exponent > 0; exponent /= 2) {
    if (exponent % 2 == 1) result = wrapping_mul(result, base);
    base = wrapping_mul(base, base);
  }
  return result;
}

/// A double as a T, saturated; NaN becomes 0.
template <class T>
T saturate(double value) {
  if constexpr (std::floating_point<T>) {
    return static_cast<T>(value);
  } else {
    if (!(value == value)) return T{0};
    if (value <= static_cast<double>(std::numeric_limits<T>::min())) {
      return std::numeric_limits<T>::min();
    }
    if (value >= static_cast<double>(std::numeric_limits<T>::max())) {
      return std::numeric_limits<T>::max();
    }
    return static_cast<T>(value);
  }
}

template <class Base, class Exponent>
Base power(Base base, Exponent exponent) {
  if constexpr (std::integral<Exponent>) {
    return integer_power(base, exponent);
  } else if constexpr (std::floating_point<Base>) {
    return std::pow(base, exponent);
  } else {
    return saturate<Base>(std::pow(static_cast<double>(base), exponent));
  }
}

/// The exponent, whatever its type, is converted to `Exponent` first.
template <class Base, class Exponent>
Result<Tensor> power_of(const Call& call) {
  RTAI_TRY(const Tensor exponent, call.convert(call[1], ir::dtype_of<Exponent>()));
  RTAI_TRY(const PairWalk walk, walk_over(call[0], exponent));
  RTAI_TRY(Tensor result, call.allocate(call[0].dtype(), walk.dims));
  fill(walk, call[0].data<Base>().data(), exponent.data<Exponent>().data(),
       result.mutable_data<Base>().data(), [](Base x, Exponent y) { return power(x, y); });
  return result;
}

template <class T>
T smaller(T a, T b) {
  return a != a || a < b ? a : b;  // NaN wins from either side
}

template <class T>
T larger(T a, T b) {
  return a != a || a > b ? a : b;
}

}  // namespace

namespace op {

Result<Tensors> add(const Call& call) {
  return one(
      binary(call, Numbers{}, call[0], call[1], [](auto a, auto b) { return wrapping_add(a, b); }));
}

Result<Tensors> sub(const Call& call) {
  return one(
      binary(call, Numbers{}, call[0], call[1], [](auto a, auto b) { return wrapping_sub(a, b); }));
}

Result<Tensors> mul(const Call& call) {
  return one(
      binary(call, Numbers{}, call[0], call[1], [](auto a, auto b) { return wrapping_mul(a, b); }));
}

Result<Tensors> div(const Call& call) {
  RTAI_TRY_VOID(expect_no_zero(call[1]));
  return one(
      binary(call, Numbers{}, call[0], call[1], [](auto a, auto b) { return divide(a, b); }));
}

Result<Tensors> pow(const Call& call) {
  if (call[1].dtype() == DType::boolean) return wrong_type(DType::boolean);
  const bool real_exponent = call[1].dtype() == DType::f32 || call[1].dtype() == DType::f64;
  using Bases = Types<float, double, std::int32_t, std::int64_t>;
  return one(with_type(Bases{}, call[0].dtype(), [&](auto zero) {
    using Base = decltype(zero);
    if constexpr (std::floating_point<Base>) {
      return power_of<Base, Base>(call);
    } else {
      return real_exponent ? power_of<Base, double>(call) : power_of<Base, std::int64_t>(call);
    }
  }));
}

Result<Tensors> mod(const Call& call) {
  RTAI_TRY_VOID(expect_no_zero(call[1]));
  if (call.attributes().integer("fmod", 0) != 0) {
    return one(binary(call, Numbers{}, call[0], call[1],
                      [](auto a, auto b) { return truncated_remainder(a, b); }));
  }
  return one(binary(call, Integers{}, call[0], call[1],
                    [](auto a, auto b) { return floor_remainder(a, b); }));
}

Result<Tensors> min(const Call& call) {
  return fold(call, Numbers{}, [](auto a, auto b) { return smaller(a, b); });
}

Result<Tensors> max(const Call& call) {
  return fold(call, Numbers{}, [](auto a, auto b) { return larger(a, b); });
}

Result<Tensors> sum(const Call& call) {
  return fold(call, Floats{}, [](auto a, auto b) { return a + b; });
}

Result<Tensors> neg(const Call& call) {
  return unary(call, SignedNumbers{}, [](auto x) {
    if constexpr (std::integral<decltype(x)>)
      return wrapping_sub(decltype(x){0}, x);
    else
      return -x;  // 0 - x would lose the sign of zero
  });
}

Result<Tensors> abs(const Call& call) {
  return unary(call, Numbers{}, [](auto x) {
    using T = decltype(x);
    if constexpr (std::floating_point<T>)
      return std::fabs(x);
    else
      return x < T{0} ? wrapping_sub(T{0}, x) : x;
  });
}

Result<Tensors> sign(const Call& call) {
  return unary(call, Numbers{}, [](auto x) {
    using T = decltype(x);
    if (x != x) return x;
    return static_cast<T>((x > T{0}) - (x < T{0}));
  });
}

Result<Tensors> sqrt(const Call& call) {
  return unary_float(call, [](auto x) { return std::sqrt(x); });
}

Result<Tensors> reciprocal(const Call& call) {
  return unary_float(call, [](auto x) { return decltype(x){1} / x; });
}

Result<Tensors> exp(const Call& call) {
  return unary_float(call, [](auto x) { return std::exp(x); });
}

Result<Tensors> log(const Call& call) {
  return unary_float(call, [](auto x) { return std::log(x); });
}

Result<Tensors> erf(const Call& call) {
  return unary_float(call, [](auto x) { return std::erf(x); });
}

Result<Tensors> tanh(const Call& call) {
  return unary_float(call, [](auto x) { return std::tanh(x); });
}

Result<Tensors> sigmoid(const Call& call) {
  return unary_float(call, [](auto x) { return decltype(x){1} / (decltype(x){1} + std::exp(-x)); });
}

Result<Tensors> relu(const Call& call) {
  return unary(call, SignedNumbers{},
               [](auto x) { return x < decltype(x){0} ? decltype(x){0} : x; });
}

Result<Tensors> gelu(const Call& call) {
  const std::string approximate = call.attributes().text("approximate", "none");
  if (approximate == "tanh") return unary_float(call, [](auto x) { return gelu_tanh(x); });
  if (approximate == "none") return unary_float(call, [](auto x) { return gelu_erf(x); });
  return invalid_input(fmt::format("approximate is '{}', expected 'none' or 'tanh'", approximate));
}

Result<Tensors> floor(const Call& call) {
  return unary_float(call, [](auto x) { return std::floor(x); });
}

Result<Tensors> ceil(const Call& call) {
  return unary_float(call, [](auto x) { return std::ceil(x); });
}

Result<Tensors> round(const Call& call) {
  return unary_float(call, [](auto x) { return std::nearbyint(x); });  // ties to even
}

Result<Tensors> clip(const Call& call) {
  for (std::size_t i = 1; i <= 2; ++i) {
    if (!call.has(i)) continue;
    RTAI_TRY_VOID(expect_same_type(call[0], call[i]));
    if (call[i].elements() != 1) return invalid_input("a limit is not one number");
  }
  return unary(call, Numbers{}, [&](auto x) {
    using T = decltype(x);
    if (call.has(1)) x = larger(x, call[1].data<T>()[0]);
    if (call.has(2)) x = smaller(x, call[2].data<T>()[0]);
    return x;
  });
}

/// The transformer level's elementwise functions by name.
Result<Tensors> activation(const Call& call) {
  const std::string kind = call.attributes().text("kind", "");
  if (kind == "gelu") return unary_float(call, [](auto x) { return gelu_erf(x); });
  if (kind == "gelu_tanh") return unary_float(call, [](auto x) { return gelu_tanh(x); });
  if (kind == "relu") return relu(call);
  if (kind == "tanh") return tanh(call);
  if (kind == "sigmoid") return sigmoid(call);
  if (kind == "silu") {
    return unary_float(call, [](auto x) { return x / (decltype(x){1} + std::exp(-x)); });
  }
  return invalid_input(fmt::format("unknown kind '{}'", kind));
}

}  // namespace op
}  // namespace rtai::reference
