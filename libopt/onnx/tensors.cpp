#include "libopt/onnx/internal/tensors.h"

#include "libopt/onnx/internal/file.h"
#include "runtime/base/checked.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>
#include <map>

namespace rtai::onnx_io {
namespace {

using ir::Dims;
using ir::Tensor;

constexpr int kMaxRank = 8;

struct TypeName {
  int onnx;
  std::string_view name;
  std::optional<DType> dtype;
};

constexpr auto kTypes = std::to_array<TypeName>({
    {1, "FLOAT", DType::f32},
    {2, "UINT8", DType::u8},
    {3, "INT8", DType::i8},
    {4, "UINT16", DType::u16},
    {5, "INT16", DType::i16},
    {6, "INT32", DType::i32},
    {7, "INT64", DType::i64},
    {8, "STRING", std::nullopt},
    {9, "BOOL", DType::boolean},
    {10, "FLOAT16", DType::f16},
    {11, "DOUBLE", DType::f64},
    {12, "UINT32", DType::u32},
    {13, "UINT64", DType::u64},
    {14, "COMPLEX64", std::nullopt},
    {15, "COMPLEX128", std::nullopt},
    {16, "BFLOAT16", DType::bf16},
    {17, "FLOAT8E4M3FN", DType::f8e4m3fn},
    {18, "FLOAT8E4M3FNUZ", DType::f8e4m3fnuz},
    {19, "FLOAT8E5M2", DType::f8e5m2},
    {20, "FLOAT8E5M2FNUZ", DType::f8e5m2fnuz},
    {21, "UINT4", DType::u4},
    {22, "INT4", DType::i4},
    {23, "FLOAT4E2M1", DType::f4e2m1},
    {24, "FLOAT8E8M0", DType::f8e8m0},
    {25, "UINT2", DType::u2},
    {26, "INT2", DType::i2},
});

/// Null for a number that ONNX does not use.
const TypeName* find_type(Index type) {
  const auto* found = std::ranges::find(kTypes, type, &TypeName::onnx);
  return found == kTypes.end() ? nullptr : found;
}

Result<Dims> dims_of(const onnx::TensorProto& proto, DType dtype) {
  if (proto.dims_size() > kMaxRank) {
    return invalid_input(fmt::format("rank {} is above {}", proto.dims_size(), kMaxRank));
  }
  const Dims dims(proto.dims().begin(), proto.dims().end());
  Dims filled = dims;  // an overflow must not hide behind a zero
  std::replace(filled.begin(), filled.end(), Index{0}, Index{1});
  RTAI_TRY(const Index elements, ir::element_count(filled));
  if (checked_mul(elements, dtype_bytes(dtype))) return dims;
  return invalid_input(fmt::format("impossible dimensions {}", ir::to_string(dims)));
}

/// The names of the fields that hold data.
std::vector<std::string_view> data_fields(const onnx::TensorProto& proto) {
  std::vector<std::string_view> fields;
  if (!proto.raw_data().empty()) fields.push_back("raw_data");
  if (proto.float_data_size() > 0) fields.push_back("float_data");
  if (proto.int32_data_size() > 0) fields.push_back("int32_data");
  if (proto.string_data_size() > 0) fields.push_back("string_data");
  if (proto.int64_data_size() > 0) fields.push_back("int64_data");
  if (proto.double_data_size() > 0) fields.push_back("double_data");
  if (proto.uint64_data_size() > 0) fields.push_back("uint64_data");
  if (proto.data_location() == onnx::TensorProto::EXTERNAL) fields.push_back("external data");
  return fields;
}

Result<void> expect_count(std::string_view field, Index found, Index expected) {
  if (found == expected) return {};
  return invalid_input(
      fmt::format("{} holds {} elements, the dimensions say {}", field, found, expected));
}

/// A tensor over `bytes`, which `owner` holds; a copy of them if they are not aligned for the
/// elements.
Tensor keep(DType dtype,
            Dims dims,
            std::shared_ptr<const void> owner,
            std::span<const std::byte> bytes) {
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  if (address % static_cast<std::uintptr_t>(dtype_bytes(dtype)) == 0) {
    return Tensor::borrow(dtype, std::move(dims), std::move(owner), bytes);
  }
  const auto copy = std::make_shared<const std::vector<std::byte>>(bytes.begin(), bytes.end());
  return Tensor::borrow(dtype, std::move(dims), copy, *copy);
}

/// A byte of a bool must be 0 or 1: C++ reads others as it likes.
Result<Tensor> checked_bools(Tensor tensor) {
  const std::span<const std::byte> bytes = tensor.bytes();
  const bool valid = std::ranges::all_of(bytes, [](std::byte b) { return b <= std::byte{1}; });
  if (valid) return tensor;
  return invalid_input("a bool that is neither 0 nor 1");
}

/// Elements that share a byte of a file.
Index elements_per_byte(DType dtype) {
  return std::max<Index>(1, 8 / ir::packed_bits(dtype));
}

/// What `elements` take in a file.
Index file_bytes(DType dtype, Index elements) {
  const Index shared = elements_per_byte(dtype);
  if (shared == 1) return elements * dtype_bytes(dtype);
  return elements / shared + (elements % shared == 0 ? 0 : 1);  // no sum that could overflow
}

/// Elements of 4 or 2 bits, each in a byte of its own: the first of a byte has its lowest bits.
///
/// `packed` has file_bytes(dtype, product of dims): memory is a small multiple of the file's.
Result<Tensor> unpacked(DType dtype, Dims dims, std::span<const std::byte> packed) {
  RTAI_TRY(Tensor tensor, Tensor::zeros(dtype, std::move(dims)));
  const auto shared = static_cast<std::size_t>(elements_per_byte(dtype));
  const auto bits = static_cast<unsigned>(ir::packed_bits(dtype));
  const unsigned mask = (1u << bits) - 1;
  const std::span<std::uint8_t> dst = tensor.mutable_data<std::uint8_t>();
  for (std::size_t i = 0; i < dst.size(); ++i) {
    const auto shift = bits * static_cast<unsigned>(i % shared);
    const unsigned code = std::to_integer<unsigned>(packed[i / shared]) >> shift & mask;
    const Index value =
        ir::is_small_integer(dtype) ? ir::to_small_integer(dtype, Index{code}) : code;
    dst[i] = static_cast<std::uint8_t>(value);
  }
  return tensor;
}

/// The bytes of a file, which `owner` holds, as a tensor.
Result<Tensor> from_file_bytes(DType dtype,
                               Dims dims,
                               std::shared_ptr<const void> owner,
                               std::span<const std::byte> bytes) {
  if (elements_per_byte(dtype) > 1) return unpacked(dtype, std::move(dims), bytes);
  return keep(dtype, std::move(dims), std::move(owner), bytes);
}

Result<Tensor> take_raw(onnx::TensorProto& proto, DType dtype, Dims dims, Index elements) {
  const auto size = static_cast<Index>(proto.raw_data().size());
  const Index expected = file_bytes(dtype, elements);
  if (size != expected) {
    return invalid_input(fmt::format("raw_data holds {} bytes, {}{} needs {}", size,
                                     dtype_name(dtype), ir::to_string(dims), expected));
  }
  const auto raw = std::make_shared<const std::string>(std::move(*proto.mutable_raw_data()));
  return from_file_bytes(dtype, std::move(dims), raw, std::as_bytes(std::span(*raw)));
}

/// A repeated field whose elements are those of the tensor.
template <class T>
Result<Tensor> take_same(google::protobuf::RepeatedField<T>& field,
                         std::string_view name,
                         DType dtype,
                         Dims dims,
                         Index elements) {
  RTAI_TRY_VOID(expect_count(name, field.size(), elements));
  const auto values = std::make_shared<const google::protobuf::RepeatedField<T>>(std::move(field));
  const std::span<const T> data(values->data(), static_cast<std::size_t>(elements));
  return keep(dtype, std::move(dims), values, std::as_bytes(data));
}

/// A repeated field of wider elements, each of which must fit.
template <class To, class From>
Result<Tensor> narrow(const google::protobuf::RepeatedField<From>& field,
                      std::string_view name,
                      DType dtype,
                      Dims dims,
                      Index elements) {
  RTAI_TRY_VOID(expect_count(name, field.size(), elements));
  RTAI_TRY(Tensor tensor, Tensor::zeros(dtype, std::move(dims)));
  const std::span<To> dst = tensor.mutable_data<To>();
  for (int i = 0; i < field.size(); ++i) {
    const From value = field.Get(i);
    const bool fits = std::in_range<To>(value) && (dtype != DType::boolean || value <= 1);
    if (!fits)
      return invalid_input(
          fmt::format("element {} is {}, outside of {}", i, value, dtype_name(dtype)));
    dst[static_cast<std::size_t>(i)] = static_cast<To>(value);
  }
  return tensor;
}

/// The field that ONNX uses for the element type.
Result<Tensor> take_typed(onnx::TensorProto& proto, DType dtype, Dims dims, Index elements) {
  const auto from_int32 = [&]<class To>(To) {
    return narrow<To>(proto.int32_data(), "int32_data", dtype, std::move(dims), elements);
  };
  if (elements_per_byte(dtype) > 1) {  // bytes as they lie in raw_data
    const Index bytes = file_bytes(dtype, elements);
    RTAI_TRY(const Tensor packed,
             narrow<std::uint8_t>(proto.int32_data(), "int32_data", DType::u8, {bytes}, bytes));
    return unpacked(dtype, std::move(dims), packed.bytes());
  }
  switch (dtype) {
    case DType::f32:
      return take_same(*proto.mutable_float_data(), "float_data", dtype, std::move(dims), elements);
    case DType::f64:
      return take_same(*proto.mutable_double_data(), "double_data", dtype, std::move(dims),
                       elements);
    case DType::i32:
      return take_same(*proto.mutable_int32_data(), "int32_data", dtype, std::move(dims), elements);
    case DType::i64:
      return take_same(*proto.mutable_int64_data(), "int64_data", dtype, std::move(dims), elements);
    case DType::u64:
      return take_same(*proto.mutable_uint64_data(), "uint64_data", dtype, std::move(dims),
                       elements);
    case DType::u32:
      return narrow<std::uint32_t>(proto.uint64_data(), "uint64_data", dtype, std::move(dims),
                                   elements);
    case DType::i8:
      return from_int32(std::int8_t{});
    case DType::i16:
      return from_int32(std::int16_t{});
    case DType::u16:
    case DType::f16:
    case DType::bf16:
      return from_int32(std::uint16_t{});
    default:
      return from_int32(std::uint8_t{});  // floats by their bits
  }
}

/// A count in a text: decimal digits alone.
Result<Index> decimal(const std::string& key, const std::string& text) {
  Index value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, status] = std::from_chars(text.data(), end, value);
  if (status == std::errc{} && rest == end && text[0] != '-') return value;
  return invalid_input(
      fmt::format("external data: {} is '{}', expected a number of bytes", key, text));
}

/// The keys of external data, each known and given once.
Result<std::map<std::string, std::string>> external_keys(const onnx::TensorProto& proto) {
  constexpr std::array<std::string_view, 5> kKnown = {"location", "offset", "length", "checksum",
                                                      "basepath"};
  std::map<std::string, std::string> keys;
  for (const onnx::StringStringEntryProto& entry : proto.external_data()) {
    const bool known = std::find(kKnown.begin(), kKnown.end(), entry.key()) != kKnown.end();
    if (!known || !keys.emplace(entry.key(), entry.value()).second) {
      return invalid_input(
          fmt::format("external data: key '{}' is unknown or stands twice", entry.key()));
    }
  }
  return keys;
}

}  // namespace

Result<DType> dtype_from_onnx(Index type) {
  const TypeName* found = find_type(type);
  if (found == nullptr)
    return invalid_input(fmt::format("element type {} is not one of ONNX", type));
  if (found->dtype) return *found->dtype;
  return Error{ErrorCode::unsupported,
               fmt::format("element type {} is not supported", found->name)};
}

std::string element_name(Index type) {
  const TypeName* found = find_type(type);
  if (found == nullptr) return "?";
  if (found->dtype) return std::string(dtype_name(*found->dtype));
  std::string name(found->name);
  std::ranges::transform(name, name.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return name;
}

int onnx_from_dtype(DType dtype) {
  return std::find_if(kTypes.begin(), kTypes.end(),
                      [&](const TypeName& t) { return t.dtype == dtype; })
      ->onnx;
}

Result<Tensor> ExternalData::read(const onnx::TensorProto& proto, DType dtype, Dims dims) {
  RTAI_TRY(const auto keys, external_keys(proto));
  if (model_.empty()) return invalid_input("external data for a model that is not a file");
  if (!keys.contains("location")) return invalid_input("external data without a location");
  Index offset = 0;
  if (keys.contains("offset")) {
    RTAI_TRY(offset, decimal("offset", keys.at("offset")));
  }
  RTAI_TRY(const Index elements, ir::element_count(dims));
  const Index bytes = file_bytes(dtype, elements);
  if (keys.contains("length")) {
    RTAI_TRY(const Index length, decimal("length", keys.at("length")));
    if (length != bytes) {
      return invalid_input(fmt::format("external data: length is {} bytes, {}{} needs {}", length,
                                       dtype_name(dtype), ir::to_string(dims), bytes));
    }
  }
  const std::string place = fmt::format("external data '{}'", keys.at("location"));
  RTAI_TRY(const InputFile file,
           InputFile::open_beside(model_, keys.at("location"), allow_hardlinks_).in(place));
  if (offset > file.size() || bytes > file.size() - offset) {
    return invalid_input(fmt::format("{}: {} bytes from {} on are wanted, the file has {}", place,
                                     bytes, offset, file.size()));
  }
  const Index in_memory = elements * dtype_bytes(dtype);
  if (in_memory > bytes_left_) {
    return Error{ErrorCode::unsupported, "the external data passes the limit of all weights"};
  }
  bytes_left_ -= in_memory;
  const auto data = std::make_shared<std::vector<std::byte>>(static_cast<std::size_t>(bytes));
  RTAI_TRY_VOID(file.read(offset, *data).in(place));
  return from_file_bytes(dtype, std::move(dims), data, *data);
}

Result<Tensor> take_tensor(onnx::TensorProto& proto, ExternalData& external) {
  if (proto.has_segment()) return Error{ErrorCode::unsupported, "a tensor in segments"};
  RTAI_TRY(const DType dtype, dtype_from_onnx(proto.data_type()));
  RTAI_TRY(Dims dims, dims_of(proto, dtype));
  RTAI_TRY(const Index elements, ir::element_count(dims));
  const std::vector<std::string_view> fields = data_fields(proto);
  if (fields.size() > 1) {
    return invalid_input(
        fmt::format("data in {} fields, {} and {}", fields.size(), fields[0], fields[1]));
  }
  if (fields.empty()) {
    if (elements == 0) return Tensor::zeros(dtype, std::move(dims));
    return invalid_input(fmt::format("no data for {}{}", dtype_name(dtype), ir::to_string(dims)));
  }
  const auto take = [&]() -> Result<Tensor> {
    if (fields[0] == "external data") return external.read(proto, dtype, std::move(dims));
    if (fields[0] == "raw_data") return take_raw(proto, dtype, std::move(dims), elements);
    return take_typed(proto, dtype, std::move(dims), elements);
  };
  RTAI_TRY(Tensor tensor, take());
  return dtype == DType::boolean ? checked_bools(std::move(tensor)) : tensor;
}

Result<Tensor> read_tensor(std::span<const std::byte> bytes) {
  onnx::TensorProto proto;
  if (bytes.size() > static_cast<std::size_t>(std::numeric_limits<int>::max()) ||
      !proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return invalid_input("not a serialized tensor");
  }
  ExternalData none({}, {});
  return take_tensor(proto, none);
}

}  // namespace rtai::onnx_io
