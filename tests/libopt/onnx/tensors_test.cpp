#include "libopt/onnx/import.h"
#include "tests/libopt/reference/apply.h"
#include "tests/support/onnx_text.h"

#include <catch2/catch.hpp>

#include <limits>

namespace rtai::onnx_io {
namespace {

using ir::Tensor;

Result<Tensor> read(const onnx::TensorProto& proto) {
  const std::string text = proto.SerializeAsString();
  return read_tensor(std::as_bytes(std::span(text)));
}

onnx::TensorProto proto(int type, const std::vector<Index>& dims) {
  onnx::TensorProto tensor;
  tensor.set_data_type(type);
  for (const Index dim : dims)
    tensor.add_dims(dim);
  return tensor;
}

std::string invalid(const onnx::TensorProto& tensor) {
  const auto result = read(tensor);
  REQUIRE_FALSE(result);
  CHECK(result.error().code() == ErrorCode::invalid_input);
  return result.error().message();
}

using P = onnx::TensorProto;

// Names of ONNX 1.19; the protobuf messages of Debian are older.
constexpr int kFloat8E4M3FN = 17;
constexpr int kUint4 = 21;
constexpr int kInt4 = 22;
constexpr int kFloat4E2M1 = 23;
constexpr int kUint2 = 25;
constexpr int kInt2 = 26;

TEST_CASE("raw data is taken for every element type of whole bytes") {
  constexpr std::array<int, 18> kOnnxTypes = {
      P::FLOAT,  P::FLOAT16,    P::BFLOAT16, P::INT8,  P::UINT8,  P::INT32,
      P::INT64,  P::BOOL,       P::DOUBLE,   P::INT16, P::UINT16, P::UINT32,
      P::UINT64, kFloat8E4M3FN, 18,          19,       20,        24};
  static_assert(kOnnxTypes.size() == static_cast<std::size_t>(DType::f8e8m0) + 1);
  for (std::size_t i = 0; i < kOnnxTypes.size(); ++i) {
    const auto dtype = static_cast<DType>(i);
    const Tensor expected = reference::f32({3}, {1, 0, 1}).converted(dtype);
    onnx::TensorProto tensor = proto(kOnnxTypes[i], {3});
    const auto bytes = expected.bytes();
    tensor.set_raw_data(bytes.data(), bytes.size());
    const auto result = read(tensor);
    REQUIRE(result);
    CHECK(*result == expected);
  }
}

TEST_CASE("typed fields are taken for every element type") {
  const auto with = [](int type, auto add) {
    onnx::TensorProto tensor = proto(type, {2});
    add(tensor);
    const auto result = read(tensor);
    REQUIRE(result);
    return *result;
  };
  const auto add_int32 = [](onnx::TensorProto& tensor) {
    tensor.add_int32_data(1);
    tensor.add_int32_data(0);
  };
  const Tensor ones = reference::f32({2}, {1, 0});
  CHECK(with(P::BOOL, add_int32) == ones.converted(DType::boolean));
  CHECK(with(P::INT8, add_int32) == ones.converted(DType::i8));
  CHECK(with(P::UINT8, add_int32) == ones.converted(DType::u8));
  CHECK(with(P::INT16, add_int32) == ones.converted(DType::i16));
  CHECK(with(P::UINT16, add_int32) == ones.converted(DType::u16));
  CHECK(with(P::INT32, add_int32) == ones.converted(DType::i32));
  CHECK(with(P::FLOAT16, [](auto& t) { t.add_int32_data(0x3c00), t.add_int32_data(0); }) ==
        ones.converted(DType::f16));
  CHECK(with(P::BFLOAT16, [](auto& t) { t.add_int32_data(0x3f80), t.add_int32_data(0); }) ==
        ones.converted(DType::bf16));
  CHECK(with(P::FLOAT, [](auto& t) { t.add_float_data(1), t.add_float_data(0); }) == ones);
  CHECK(with(P::DOUBLE, [](auto& t) { t.add_double_data(1), t.add_double_data(0); }) ==
        ones.converted(DType::f64));
  CHECK(with(P::INT64, [](auto& t) { t.add_int64_data(1), t.add_int64_data(0); }) ==
        ones.converted(DType::i64));
  CHECK(with(P::UINT64, [](auto& t) { t.add_uint64_data(1), t.add_uint64_data(0); }) ==
        ones.converted(DType::u64));
  CHECK(with(P::UINT32, [](auto& t) { t.add_uint64_data(1), t.add_uint64_data(0); }) ==
        ones.converted(DType::u32));
}

/// The same bytes in raw_data and in int32_data.
void check_packed(int type,
                  const std::vector<Index>& dims,
                  const std::vector<std::uint8_t>& bytes,
                  DType dtype,
                  const std::vector<float>& expected) {
  onnx::TensorProto raw = proto(type, dims);
  raw.set_raw_data(bytes.data(), bytes.size());
  onnx::TensorProto typed = proto(type, dims);
  for (const std::uint8_t byte : bytes)
    typed.add_int32_data(byte);
  for (const onnx::TensorProto& tensor : {raw, typed}) {
    const auto result = read(tensor);
    INFO((result ? "" : result.error().message()));
    REQUIRE(result);
    CHECK(result->dtype() == dtype);
    CHECK(result->converted(DType::f32) == reference::f32(dims, expected));
  }
}

TEST_CASE("elements of 4 and 2 bits begin at the lowest bits, and odd counts end in a byte") {
  check_packed(kInt4, {3}, {0x8f, 0x07}, DType::i4, {-1, -8, 7});
  check_packed(kUint4, {1, 3}, {0x8f, 0xf7}, DType::u4, {15, 8, 7});  // what pads is not looked at
  check_packed(kFloat4E2M1, {3}, {0x91, 0x0f}, DType::f4e2m1, {0.5f, -0.5f, -6});
  check_packed(kInt2, {5}, {0b01'10'11'00, 0b10}, DType::i2, {0, -1, -2, 1, -2});
  check_packed(kUint2, {2, 3}, {0b01'10'11'00, 0b0110}, DType::u2, {0, 3, 2, 1, 2, 1});
  check_packed(kInt4, {}, {0x0e}, DType::i4, {-2});
  std::vector<std::uint8_t> all;
  std::vector<float> fours;
  std::vector<float> twos;
  for (int byte = 0; byte < 256; ++byte) {
    all.push_back(static_cast<std::uint8_t>(byte));
    for (const int value : {byte % 16, byte / 16})
      fours.push_back(static_cast<float>(value < 8 ? value : value - 16));
    for (const int value : {byte % 4, byte / 4 % 4, byte / 16 % 4, byte / 64})
      twos.push_back(static_cast<float>(value < 2 ? value : value - 4));
  }
  check_packed(kInt4, {512}, all, DType::i4, fours);
  check_packed(kInt2, {1024}, all, DType::i2, twos);
  check_packed(kFloat8E4M3FN, {2}, {0x38, 0xfe}, DType::f8e4m3fn, {1, -448});
  CHECK(read(proto(kInt2, {0}))->dims() == ir::Dims{0});
}

TEST_CASE("packed data that does not fit the dimensions is refused before memory is taken") {
  const auto raw = [](int type, const std::vector<Index>& dims, std::size_t bytes) {
    onnx::TensorProto tensor = proto(type, dims);
    tensor.set_raw_data(std::string(bytes, '\1'));
    return invalid(tensor);
  };
  CHECK(raw(kInt4, {3}, 3) == "raw_data holds 3 bytes, i4[3] needs 2");
  CHECK(raw(kInt4, {5}, 2) == "raw_data holds 2 bytes, i4[5] needs 3");
  CHECK(raw(kUint2, {9}, 2) == "raw_data holds 2 bytes, u2[9] needs 3");
  CHECK(raw(kInt2, {0}, 1) == "raw_data holds 1 bytes, i2[0] needs 0");
  CHECK(raw(kFloat8E4M3FN, {2}, 1) == "raw_data holds 1 bytes, f8e4m3fn[2] needs 2");
  constexpr Index kMost = std::numeric_limits<Index>::max();
  CHECK(raw(kInt2, {kMost}, 1).find("needs 2305843009213693952") != std::string::npos);
  CHECK(raw(kInt4, {kMost, 2}, 1).find("impossible dimensions") != std::string::npos);
  CHECK(invalid(proto(kInt4, {Index{1} << 40})) == "no data for i4[1099511627776]");

  onnx::TensorProto typed = proto(kInt4, {3});
  typed.add_int32_data(0);
  CHECK(invalid(typed) == "int32_data holds 1 elements, the dimensions say 2");
  typed.add_int32_data(256);
  CHECK(invalid(typed) == "element 1 is 256, outside of u8");
  typed = proto(kFloat8E4M3FN, {1});
  typed.add_int32_data(-1);
  CHECK(invalid(typed) == "element 0 is -1, outside of f8e4m3fn");
}

TEST_CASE("a scalar and a tensor without elements are tensors, too") {
  onnx::TensorProto scalar = proto(P::FLOAT, {});
  scalar.add_float_data(5);
  CHECK(*read(scalar) == reference::f32({}, {5}));
  CHECK(read(proto(P::FLOAT, {2, 0}))->dims() == ir::Dims{2, 0});
}

TEST_CASE("data that does not fit the dimensions is refused") {
  onnx::TensorProto tensor = proto(P::FLOAT, {2});
  CHECK(invalid(tensor) == "no data for f32[2]");
  tensor.set_raw_data(std::string(7, 'a'));
  CHECK(invalid(tensor) == "raw_data holds 7 bytes, f32[2] needs 8");
  tensor.set_raw_data(std::string(9, 'a'));
  CHECK(invalid(tensor).find("9 bytes") != std::string::npos);
  tensor.clear_raw_data();
  tensor.add_float_data(1);
  CHECK(invalid(tensor) == "float_data holds 1 elements, the dimensions say 2");
  tensor.add_float_data(1);
  CHECK(read(tensor));
  tensor.add_float_data(1);
  CHECK(invalid(tensor).find("3 elements") != std::string::npos);
  tensor = proto(P::FLOAT, {2});
  tensor.add_int32_data(1);
  tensor.add_int32_data(1);
  CHECK(invalid(tensor) == "float_data holds 0 elements, the dimensions say 2");
  tensor = proto(P::FLOAT, {0});
  tensor.set_raw_data("abcd");
  CHECK(invalid(tensor).find("4 bytes") != std::string::npos);
}

TEST_CASE("data in two fields is refused") {
  onnx::TensorProto tensor = proto(P::FLOAT, {1});
  tensor.set_raw_data("abcd");
  tensor.add_float_data(1);
  CHECK(invalid(tensor) == "data in 2 fields, raw_data and float_data");
}

TEST_CASE("elements outside of their type are refused") {
  onnx::TensorProto tensor = proto(P::INT8, {1});
  tensor.add_int32_data(128);
  CHECK(invalid(tensor) == "element 0 is 128, outside of i8");
  tensor = proto(P::BOOL, {1});
  tensor.add_int32_data(2);
  CHECK(invalid(tensor).find("outside of bool") != std::string::npos);
  tensor.clear_int32_data();
  tensor.set_raw_data("\x02");
  CHECK(invalid(tensor) == "a bool that is neither 0 nor 1");
  tensor = proto(P::UINT32, {1});
  tensor.add_uint64_data(std::uint64_t{1} << 32);
  CHECK(invalid(tensor).find("outside of u32") != std::string::npos);
}

TEST_CASE("impossible dimensions are refused without taking memory") {
  CHECK(invalid(proto(P::FLOAT, {-1})).find("impossible dimensions") != std::string::npos);
  CHECK(invalid(proto(P::FLOAT, {Index{1} << 40, Index{1} << 40})).find("impossible") !=
        std::string::npos);
  CHECK(invalid(proto(P::DOUBLE, {Index{1} << 61})).find("impossible") != std::string::npos);
  CHECK(invalid(proto(P::FLOAT, {0, Index{1} << 40, Index{1} << 40})).find("impossible") !=
        std::string::npos);
  CHECK(invalid(proto(P::FLOAT, {Index{1} << 40})) == "no data for f32[1099511627776]");
  CHECK(invalid(proto(P::FLOAT, std::vector<Index>(9, 1))) == "rank 9 is above 8");
}

TEST_CASE("element types that rtai lacks are named, unknown ones refused") {
  const auto result = read(proto(P::STRING, {1}));
  CHECK(result.error().code() == ErrorCode::unsupported);
  CHECK(result.error().message() == "element type STRING is not supported");
  CHECK(read(proto(P::COMPLEX64, {1})).error().message() ==
        "element type COMPLEX64 is not supported");
  CHECK(invalid(proto(0, {1})) == "element type 0 is not one of ONNX");
  CHECK(invalid(proto(-5, {1})) == "element type -5 is not one of ONNX");
}

TEST_CASE("segments and external data of a lone tensor are refused") {
  onnx::TensorProto tensor = proto(P::FLOAT, {1});
  tensor.mutable_segment()->set_begin(0);
  CHECK(read(tensor).error().code() == ErrorCode::unsupported);
  tensor = proto(P::FLOAT, {1});
  tensor.set_data_location(P::EXTERNAL);
  tensor.add_external_data()->set_key("location");
  CHECK(invalid(tensor) == "external data for a model that is not a file");
}

TEST_CASE("bytes that are no tensor are refused") {
  const std::string garbage = "\xff\xff\xff";
  CHECK_FALSE(read_tensor(std::as_bytes(std::span(garbage))));
}

}  // namespace
}  // namespace rtai::onnx_io
