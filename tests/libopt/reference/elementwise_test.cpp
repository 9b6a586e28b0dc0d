#include "tests/libopt/reference/apply.h"

#include <cmath>
#include <limits>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

constexpr float kInfinity = std::numeric_limits<float>::infinity();
const float kNan = std::nanf("");
constexpr std::int32_t kLowest = std::numeric_limits<std::int32_t>::min();
constexpr std::int32_t kHighest = std::numeric_limits<std::int32_t>::max();

TEST_CASE("arithmetic broadcasts from the last axis") {
  const Tensor matrix = f32({2, 3}, {1, 2, 3, 4, 5, 6});
  CHECK(apply(Op::add, {matrix, f32({3}, {10, 20, 30})}) == f32({2, 3}, {11, 22, 33, 14, 25, 36}));
  CHECK(apply(Op::sub, {matrix, f32({2, 1}, {1, 4})}) == f32({2, 3}, {0, 1, 2, 0, 1, 2}));
  CHECK(apply(Op::mul, {f32({}, {2}), matrix}) == f32({2, 3}, {2, 4, 6, 8, 10, 12}));
  CHECK(apply(Op::div, {f32({1, 2, 1}, {6, 12}), f32({3}, {1, 2, 3})}) ==
        f32({1, 2, 3}, {6, 3, 2, 12, 6, 4}));
  CHECK(apply(Op::add, {f32({0}, {}), f32({1}, {1})}).dims() == ir::Dims{0});
  CHECK(refusal(Op::add, {matrix, f32({2}, {1, 2})}).find("do not broadcast") != std::string::npos);
}

TEST_CASE("arithmetic wants one element type, and a number") {
  CHECK(refusal(Op::add, {f32({1}, {1}), i64({1}, {1})}).find("f32 and i64 differ") !=
        std::string::npos);
  CHECK(refusal(Op::add, {bools({1}, {1}), bools({1}, {1})}).find("bool is not allowed") !=
        std::string::npos);
  CHECK(refusal(Op::exp, {i64({1}, {1})}).find("i64 is not allowed") != std::string::npos);
}

TEST_CASE("integers wrap around instead of overflowing") {
  CHECK(apply(Op::add, {i32({}, {kHighest}), i32({}, {1})}) == i32({}, {kLowest}));
  CHECK(apply(Op::sub, {i32({}, {kLowest}), i32({}, {1})}) == i32({}, {kHighest}));
  CHECK(apply(Op::mul, {i32({}, {kHighest}), i32({}, {2})}) == i32({}, {-2}));
  CHECK(apply(Op::neg, {i32({}, {kLowest})}) == i32({}, {kLowest}));
  CHECK(apply(Op::abs, {i32({}, {kLowest})}) == i32({}, {kLowest}));
  CHECK(apply(Op::div, {i32({}, {kLowest}), i32({}, {-1})}) == i32({}, {kLowest}));
  CHECK(apply(Op::mod, {i32({}, {kLowest}), i32({}, {-1})}) == i32({}, {0}));
  CHECK(apply(Op::mul, {u8({}, {200}), u8({}, {2})}) == u8({}, {144}));
  const Tensor big = Tensor::scalar<std::uint16_t>(65535);  // their product overflows int
  CHECK(apply(Op::mul, {big, big}) == Tensor::scalar<std::uint16_t>(1));
}

TEST_CASE("division of integers truncates and refuses zero") {
  CHECK(apply(Op::div, {i64({4}, {7, -7, 7, -7}), i64({4}, {2, 2, -2, -2})}) ==
        i64({4}, {3, -3, -3, 3}));
  CHECK(refusal(Op::div, {i64({1}, {1}), i64({1}, {0})}).find("by zero") != std::string::npos);
  CHECK(refusal(Op::mod, {i64({1}, {1}), i64({1}, {0})}).find("by zero") != std::string::npos);
  CHECK(apply(Op::div, {f32({1}, {1}), f32({1}, {0})}) == f32({1}, {kInfinity}));
}

TEST_CASE("mod has the sign of the divisor, with fmod that of the dividend") {
  const Tensor a = i64({4}, {7, -7, 7, -7});
  const Tensor b = i64({4}, {3, 3, -3, -3});
  CHECK(apply(Op::mod, {a, b}) == i64({4}, {1, 2, -2, -1}));
  CHECK(apply(Op::mod, {a, b}, {{"fmod", 1}}) == i64({4}, {1, -1, 1, -1}));
  CHECK(apply(Op::mod, {f32({1}, {-7.5f}), f32({1}, {2})}, {{"fmod", 1}}) == f32({1}, {-1.5f}));
  CHECK(refusal(Op::mod, {f32({1}, {1}), f32({1}, {1})}).find("f32 is not allowed") !=
        std::string::npos);
}

TEST_CASE("powers take exponents of any type") {
  CHECK(apply(Op::pow, {f32({2}, {3, 4}), i64({}, {2})}) == f32({2}, {9, 16}));
  CHECK(apply(Op::pow, {i64({4}, {2, -1, 1, 2}), i64({4}, {10, -3, -5, -1})}) ==
        i64({4}, {1024, -1, 1, 0}));
  CHECK(apply(Op::pow, {i32({2}, {10, 2}), f32({2}, {30, 0.5f})}) == i32({2}, {kHighest, 1}));
}

TEST_CASE("min, max and sum take any number of operands and let NaN through") {
  const Tensor a = f32({2}, {1, kNan});
  const Tensor b = f32({2}, {kNan, 2});
  for (const Op op : {Op::min, Op::max}) {
    const Tensor result = apply(op, {a, b});
    CHECK(std::isnan(result.value(0)));
    CHECK(std::isnan(result.value(1)));
  }
  CHECK(apply(Op::max, {i64({2}, {1, 9}), i64({}, {5}), i64({1}, {6})}) == i64({2}, {6, 9}));
  CHECK(apply(Op::sum, {f32({}, {1}), f32({2}, {1, 2}), f32({1}, {3})}) == f32({2}, {5, 6}));
  CHECK(apply(Op::min, {f32({1}, {7})}) == f32({1}, {7}));
  CHECK(refusal(Op::sum, {i64({}, {1})}).find("i64") != std::string::npos);
}

TEST_CASE("functions of one number") {
  const Tensor x = f32({4}, {-2.5f, -0.5f, 0.5f, 1.5f});
  CHECK(apply(Op::floor, {x}) == f32({4}, {-3, -1, 0, 1}));
  CHECK(apply(Op::ceil, {x}) == f32({4}, {-2, -0.0f, 1, 2}));
  CHECK(apply(Op::round, {x}) == f32({4}, {-2, -0.0f, 0, 2}));  // ties to even
  CHECK(apply(Op::sign, {f32({3}, {-3, 0, 5})}) == f32({3}, {-1, 0, 1}));
  CHECK(apply(Op::relu, {i32({2}, {-3, 5})}) == i32({2}, {0, 5}));
  CHECK(apply(Op::reciprocal, {f32({2}, {2, 4})}) == f32({2}, {0.5f, 0.25f}));
  CHECK(apply(Op::sqrt, {f32({2}, {9, 16})}) == f32({2}, {3, 4}));
  check_close(apply(Op::exp, {f32({2}, {0, 1})}), f32({2}, {1, 2.7182818f}), 1e-6);
  check_close(apply(Op::log, {f32({2}, {1, 2.7182818f})}), f32({2}, {0, 1}), 1e-6);
  check_close(apply(Op::erf, {f32({2}, {0, 1})}), f32({2}, {0, 0.84270079f}), 1e-6);
  check_close(apply(Op::tanh, {f32({1}, {0.5f})}), f32({1}, {0.46211716f}), 1e-6);
  check_close(apply(Op::sigmoid, {f32({2}, {0, -100})}), f32({2}, {0.5f, 0}), 1e-6);
  check_close(apply(Op::gelu, {f32({1}, {1})}), f32({1}, {0.84134475f}), 1e-6);
  check_close(apply(Op::gelu, {f32({1}, {1})}, {{"approximate", std::string("tanh")}}),
              f32({1}, {0.84119199f}), 1e-6);
  CHECK(refusal(Op::gelu, {f32({1}, {1})}, {{"approximate", std::string("x")}}).find("'x'") !=
        std::string::npos);
}

TEST_CASE("clip takes either limit, and the upper one wins") {
  const Tensor x = f32({3}, {-5, 0, 5});
  CHECK(apply(Op::clip, {x, f32({}, {-1}), f32({}, {1})}) == f32({3}, {-1, 0, 1}));
  CHECK(apply(Op::clip, {x, std::nullopt, f32({}, {1})}) == f32({3}, {-5, 0, 1}));
  CHECK(apply(Op::clip, {x, f32({}, {-1})}) == f32({3}, {-1, 0, 5}));
  CHECK(apply(Op::clip, {x, f32({}, {3}), f32({}, {1})}) == f32({3}, {1, 1, 1}));
  CHECK(std::isnan(apply(Op::clip, {f32({1}, {kNan}), f32({}, {0})}).value(0)));
  CHECK(refusal(Op::clip, {x, f32({2}, {1, 2})}).find("not one number") != std::string::npos);
  CHECK(refusal(Op::clip, {x, i64({}, {1})}).find("differ") != std::string::npos);
}

}  // namespace
}  // namespace rtai::reference
