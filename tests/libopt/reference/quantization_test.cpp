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

TEST_CASE("quantize_linear saturates at the range of 4 and 2 bits") {
  const auto quantized = [](DType dtype, const Tensor& x, float zero_point = 0) {
    const Tensor result =
        apply(Op::quantize_linear, {x, f32({}, {2}), f32({}, {zero_point}).converted(dtype)});
    CHECK(result.dtype() == dtype);
    return result.converted(DType::f32);
  };
  const Tensor x = f32({6}, {100, -100, 3, -3, 5, 0});
  CHECK(quantized(DType::i4, x) == f32({6}, {7, -8, 2, -2, 2, 0}));
  CHECK(quantized(DType::u4, x, 3) == f32({6}, {15, 0, 5, 1, 5, 3}));
  CHECK(quantized(DType::i2, x) == f32({6}, {1, -2, 1, -2, 1, 0}));
  CHECK(quantized(DType::u2, x, 1) == f32({6}, {3, 0, 3, 0, 3, 1}));
  CHECK(apply(Op::quantize_linear, {x, f32({}, {2})}, {{"output_dtype", std::string("i4")}}) ==
        f32({6}, {7, -8, 2, -2, 2, 0}).converted(DType::i4));
}

TEST_CASE("quantize_linear rounds to floats of 8 and 4 bits") {
  const auto quantized = [](DType dtype, const Tensor& x, const ir::Attributes& attributes = {}) {
    const Tensor zero = f32({}, {0}).converted(dtype);
    return apply(Op::quantize_linear, {x, f32({}, {2}), zero}, attributes).converted(DType::f32);
  };
  const Tensor x = f32({4}, {2, 1000, -0.5f, 5});
  CHECK(quantized(DType::f8e4m3fn, x) == f32({4}, {1, 448, -0.25f, 2.5f}));
  CHECK(std::isnan(quantized(DType::f8e4m3fn, x, {{"saturate", 0}}).value(1)));
  CHECK(quantized(DType::f8e5m2, x) == f32({4}, {1, 512, -0.25f, 2.5f}));
  CHECK(quantized(DType::f4e2m1, x) == f32({4}, {1, 6, -0.0f, 2}));
  CHECK(refusal(Op::quantize_linear, {x, f32({}, {2}), f32({}, {1}).converted(DType::f8e8m0)})
            .find("f8e8m0 is not allowed") != std::string::npos);
}

TEST_CASE("dequantize_linear takes small numbers, per axis and by blocks, and powers as scales") {
  const Tensor fours = f32({2, 3}, {-8, 7, 1, 2, -1, 0}).converted(DType::i4);
  CHECK(apply(Op::dequantize_linear,
              {fours, f32({2}, {1, 10}), f32({2}, {0, 1}).converted(DType::i4)},
              {{"axis", 0}}) == f32({2, 3}, {-8, 7, 1, 10, -20, -10}));
  CHECK(apply(Op::dequantize_linear, {fours, f32({2, 2}, {1, 2, 4, 8})},
              {{"axis", 1}, {"block_size", 2}}) == f32({2, 3}, {-8, 7, 2, 8, -4, 0}));
  const Tensor floats = f32({4}, {1.5f, -6, 448, 0.0625f}).converted(DType::f8e4m3fn);
  CHECK(apply(Op::dequantize_linear, {floats, f32({}, {2})}) == f32({4}, {3, -12, 896, 0.125f}));
  const Tensor half = f32({}, {2}).converted(DType::f16);
  CHECK(apply(Op::dequantize_linear, {floats, half}).dtype() == DType::f16);
  // Microscaling: blocks of f4e2m1 with a power of two for each.
  const Tensor micro = f32({4}, {0.5f, -6, 3, 1}).converted(DType::f4e2m1);
  CHECK(apply(Op::dequantize_linear, {micro, f32({2}, {4, 0.5f}).converted(DType::f8e8m0)},
              {{"axis", 0}, {"block_size", 2}}) == f32({4}, {2, -24, 1.5f, 0.5f}));
  CHECK(refusal(Op::dequantize_linear, {f32({1}, {1}).converted(DType::f8e8m0), f32({}, {1})})
            .find("f8e8m0 is not allowed") != std::string::npos);
  CHECK(refusal(Op::dequantize_linear, {fours, f32({}, {1}), f32({}, {0}).converted(DType::u4)})
            .find("differ") != std::string::npos);
}

TEST_CASE("operators that only move elements move those of every type, and others name them") {
  const Tensor fours = f32({2, 2}, {-8, 7, 1, 2}).converted(DType::i4);
  CHECK(apply(Op::transpose, {fours}) == f32({2, 2}, {-8, 1, 7, 2}).converted(DType::i4));
  CHECK(apply(Op::gather, {fours, i64({1}, {1})}) == f32({1, 2}, {1, 2}).converted(DType::i4));
  CHECK(refusal(Op::add, {fours, fours}).find("element type i4 is not allowed here") !=
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
