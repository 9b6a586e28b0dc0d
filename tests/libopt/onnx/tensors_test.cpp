#include "libopt/onnx/import.h"
#include "tests/libopt/reference/apply.h"
#include "tests/support/onnx_text.h"

#include <catch2/catch.hpp>

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

TEST_CASE("raw data is taken for every element type") {
  for (int i = 0; i < kDTypeCount; ++i) {
    const auto dtype = static_cast<DType>(i);
    const Tensor expected = reference::f32({3}, {1, 0, 1}).converted(dtype);
    constexpr std::array<int, kDTypeCount> kOnnxTypes = {
        P::FLOAT, P::FLOAT16, P::BFLOAT16, P::INT8,   P::UINT8,  P::INT32, P::INT64,
        P::BOOL,  P::DOUBLE,  P::INT16,    P::UINT16, P::UINT32, P::UINT64};
    onnx::TensorProto tensor = proto(kOnnxTypes[static_cast<std::size_t>(i)], {3});
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
  CHECK(read(proto(22, {1})).error().message() == "element type INT4 is not supported");
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
