// Element types of tensors, as they are stored in engines and named in reports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace rtai {

/// Signed, so that loops and differences need no casts.
using Index = std::int64_t;

/// Serialized in engine files: values are never reused.
enum class DType : std::uint8_t {
  f32 = 0,
  f16 = 1,
  bf16 = 2,
  i8 = 3,
  u8 = 4,
  i32 = 5,
  i64 = 6,
  boolean = 7,
  f64 = 8,
  i16 = 9,
  u16 = 10,
  u32 = 11,
  u64 = 12,
  // Of ONNX files alone, in no engine: libopt/ir/small_types.h.
  f8e4m3fn = 13,
  f8e4m3fnuz = 14,
  f8e5m2 = 15,
  f8e5m2fnuz = 16,
  f8e8m0 = 17,
  f4e2m1 = 18,
  i4 = 19,
  u4 = 20,
  i2 = 21,
  u2 = 22,
};

inline constexpr int kDTypeCount = 23;
inline constexpr int kEngineDTypeCount = 13;  // those that an engine may hold come first

/// Bytes of one element in memory: those of 4 and 2 bits have a byte of their own, too.
constexpr Index dtype_bytes(DType type) {
  switch (type) {
    case DType::f64:
    case DType::i64:
    case DType::u64:
      return 8;
    case DType::f32:
    case DType::i32:
    case DType::u32:
      return 4;
    case DType::f16:
    case DType::bf16:
    case DType::i16:
    case DType::u16:
      return 2;
    case DType::i8:
    case DType::u8:
    case DType::boolean:
    case DType::f8e4m3fn:
    case DType::f8e4m3fnuz:
    case DType::f8e5m2:
    case DType::f8e5m2fnuz:
    case DType::f8e8m0:
    case DType::f4e2m1:
    case DType::i4:
    case DType::u4:
    case DType::i2:
    case DType::u2:
      return 1;
  }
  return 0;
}

/// "f32", "i8", ...: the spelling of the enumerator, except "bool".
std::string_view dtype_name(DType type);
std::optional<DType> dtype_from_name(std::string_view name);

/// IEEE binary16 <-> binary32, round to nearest even.
float f16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_f16(float value);

/// bfloat16 <-> binary32, round to nearest even; NaN stays NaN.
float bf16_to_f32(std::uint16_t bits);
std::uint16_t f32_to_bf16(float value);

}  // namespace rtai
