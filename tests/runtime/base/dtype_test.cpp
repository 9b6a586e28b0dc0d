#include "runtime/base/dtype.h"

#include <catch2/catch.hpp>

#include <cmath>
#include <limits>

namespace rtai {
namespace {

TEST_CASE("every f16 survives the way to f32 and back") {
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float wide = f16_to_f32(half);
    if (std::isnan(wide)) {
      REQUIRE(std::isnan(f16_to_f32(f32_to_f16(wide))));
    } else {
      REQUIRE(f32_to_f16(wide) == half);
    }
  }
}

TEST_CASE("f32 rounds to the nearest f16, ties to even, overflow to infinity") {
  CHECK(f32_to_f16(1.0f + 0x1p-11f) == 0x3c00);    // tie: down to even
  CHECK(f32_to_f16(1.0f + 0x1.8p-10f) == 0x3c02);  // tie: up to even
  CHECK(f32_to_f16(65519.0f) == 0x7bff);
  CHECK(f32_to_f16(65520.0f) == 0x7c00);
  CHECK(f32_to_f16(0x1p-25f) == 0x0000);  // tie below the smallest subnormal
  CHECK(f32_to_f16(std::nextafter(0x1p-25f, 1.0f)) == 0x0001);
  CHECK(f32_to_f16(-0.0f) == 0x8000);
  CHECK(f32_to_f16(std::numeric_limits<float>::infinity()) == 0x7c00);
}

TEST_CASE("f32 rounds to the nearest bf16 and NaN stays NaN") {
  CHECK(f32_to_bf16(1.0f) == 0x3f80);
  CHECK(f32_to_bf16(1.0f + 0x1p-8f) == 0x3f80);
  CHECK(f32_to_bf16(1.0f + 0x1.8p-7f) == 0x3f82);
  CHECK(std::isnan(bf16_to_f32(f32_to_bf16(std::numeric_limits<float>::quiet_NaN()))));
}

TEST_CASE("names of element types go both ways") {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto type = static_cast<DType>(i);
    CHECK(dtype_from_name(dtype_name(type)) == type);
  }
  CHECK_FALSE(dtype_from_name("float"));
}

}  // namespace
}  // namespace rtai
