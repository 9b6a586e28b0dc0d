#include "tests/libopt/reference/apply.h"

#include <cmath>
#include <limits>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

TEST_CASE("comparisons give bools and follow IEEE for NaN") {
  const Tensor a = f32({3}, {1, 2, std::nanf("")});
  const Tensor b = f32({3}, {2, 2, std::nanf("")});
  CHECK(apply(Op::less, {a, b}) == bools({3}, {1, 0, 0}));
  CHECK(apply(Op::less_or_equal, {a, b}) == bools({3}, {1, 1, 0}));
  CHECK(apply(Op::greater, {b, a}) == bools({3}, {1, 0, 0}));
  CHECK(apply(Op::greater_or_equal, {b, a}) == bools({3}, {1, 1, 0}));
  CHECK(apply(Op::equal, {a, b}) == bools({3}, {0, 1, 0}));
  CHECK(apply(Op::equal, {bools({2}, {0, 1}), bools({}, {1})}) == bools({2}, {0, 1}));
  CHECK(apply(Op::is_nan, {a}) == bools({3}, {0, 0, 1}));
  const Tensor infinite = f32(
      {3}, {-std::numeric_limits<float>::infinity(), 0, std::numeric_limits<float>::infinity()});
  CHECK(apply(Op::is_inf, {infinite}) == bools({3}, {1, 0, 1}));
  CHECK(apply(Op::is_inf, {infinite}, {{"detect_negative", 0}}) == bools({3}, {0, 0, 1}));
}

TEST_CASE("logic works on bools alone") {
  const Tensor a = bools({4}, {0, 0, 1, 1});
  const Tensor b = bools({4}, {0, 1, 0, 1});
  CHECK(apply(Op::logical_and, {a, b}) == bools({4}, {0, 0, 0, 1}));
  CHECK(apply(Op::logical_or, {a, b}) == bools({4}, {0, 1, 1, 1}));
  CHECK(apply(Op::logical_xor, {a, b}) == bools({4}, {0, 1, 1, 0}));
  CHECK(apply(Op::logical_not, {a}) == bools({4}, {1, 1, 0, 0}));
  CHECK(refusal(Op::logical_and, {f32({1}, {1}), f32({1}, {1})}).find("f32") != std::string::npos);
  CHECK(refusal(Op::logical_not, {f32({1}, {1})}).find("expected bool") != std::string::npos);
}

TEST_CASE("where chooses with three-way broadcasting, for any element type") {
  CHECK(apply(Op::where, {bools({2, 1}, {1, 0}), f32({3}, {1, 2, 3}), f32({}, {9})}) ==
        f32({2, 3}, {1, 2, 3, 9, 9, 9}));
  CHECK(apply(Op::where, {bools({2}, {1, 0}), bools({}, {1}), bools({}, {0})}) ==
        bools({2}, {1, 0}));
  CHECK(refusal(Op::where, {f32({1}, {1}), f32({1}, {1}), f32({1}, {1})}).find("condition") !=
        std::string::npos);
}

}  // namespace
}  // namespace rtai::reference
