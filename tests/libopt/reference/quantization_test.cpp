#include "tests/libopt/reference/apply.h"

#include <cmath>
#include <limits>

namespace rtai::reference {
namespace {

using ir::Op;
using ir::Tensor;

TEST_CASE("quantize_linear rounds to even and saturates, per tensor, axis and block") {
  const Tensor x = f32({6}, {0.5f, 1.5f, -0.5f, 1000, -1000, 2.5f});
  CHECK(apply(Op::quantize_linear, {x, f32({}, {1}), i8({}, {0})}) ==
        i8({6}, {0, 2, 0, 127, -128, 2}));
  CHECK(apply(Op::quantize_linear, {x, f32({}, {1}), u8({}, {10})}) ==
        u8({6}, {10, 12, 10, 255, 0, 12}));
  CHECK(apply(Op::quantize_linear, {f32({2, 2}, {1, 1, 1, 1}), f32({2}, {1, 0.5f}),
                                    i8({2}, {0, 1})}) == i8({2, 2}, {1, 3, 1, 3}));
  CHECK(apply(Op::quantize_linear, {f32({1, 3}, {1, 1, 1}), f32({1, 2}, {1, 0.5f})},
              {{"block_size", 2}, {"output_dtype", std::string("i8")}}) == i8({1, 3}, {1, 1, 2}));
  CHECK(apply(Op::quantize_linear, {f32({1}, {std::nanf("")}), f32({}, {1}), i8({}, {3})}) ==
        i8({1}, {3}));
  CHECK(refusal(Op::quantize_linear, {x, f32({2}, {1, 1})}).find("axis 1") != std::string::npos);
  CHECK(refusal(Op::quantize_linear, {f32({1, 3}, {1, 1, 1}), f32({2}, {1, 1})})
            .find("scale f32[2]") != std::string::npos);
  CHECK(refusal(Op::quantize_linear, {x, f32({}, {1}), i8({2}, {0, 0})}).find("zero point") !=
        std::string::npos);
}

TEST_CASE("dequantize_linear is its inverse, for i32 sums as well") {
  CHECK(apply(Op::dequantize_linear, {i8({2, 2}, {1, 2, 3, 4}), f32({2}, {1, 10}), i8({2}, {1, 0})},
              {{"axis", 0}}) == f32({2, 2}, {0, 1, 30, 40}));
  CHECK(apply(Op::dequantize_linear, {u8({1}, {255}), f32({}, {0.5f}), u8({}, {128})}) ==
        f32({1}, {63.5f}));
  CHECK(apply(Op::dequantize_linear, {i32({1}, {-7}), f32({}, {2})}) == f32({1}, {-14}));
  CHECK(apply(Op::dequantize_linear, {i8({1}, {2}), f32({}, {2}).converted(DType::f16)}).dtype() ==
        DType::f16);
  CHECK(refusal(Op::dequantize_linear, {i8({1}, {1}), f32({}, {1}), u8({}, {0})}).find("differ") !=
        std::string::npos);
}

TEST_CASE("dynamic_quantize_linear spans the range with zero in it") {
  const auto results = apply_all(Op::dynamic_quantize_linear, {f32({3}, {-1, 0, 1.55f})}, {}, 3);
  REQUIRE(results);
  CHECK(results->at(0) == u8({3}, {0, 100, 255}));
  CHECK(results->at(1).value(0) == Approx(0.01));
  CHECK(results->at(2) == u8({}, {100}));
  const auto zeros = apply_all(Op::dynamic_quantize_linear, {f32({2}, {0, 0})}, {}, 3);
  CHECK(zeros->at(0) == u8({2}, {0, 0}));
}

}  // namespace
}  // namespace rtai::reference
