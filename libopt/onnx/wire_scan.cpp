#include "libopt/onnx/internal/wire_scan.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <limits>

namespace rtai::onnx_io {
namespace {

using google::protobuf::io::CodedInputStream;

/// What a length-delimited field holds: messages first, then what ends the walk.
enum class Kind {
  model,
  training,
  graph,
  node,
  attribute,
  tensor,
  sparse_tensor,
  value_info,
  type,
  tensor_type,
  element_type,
  map_type,
  shape,
  dimension,
  function,
  annotation,
  pair,
  segment,
  text,      // a string
  name,      // an input or output of a node
  bytes,     // data that is copied as it is
  varints4,  // packed numbers, of 4 bytes each in memory
  varints8,
  reals,    // packed numbers of fixed size
  unknown,  // a later addition to the format: kept as it is
};

struct Field {
  Kind message;
  int number;
  Kind content;
};

// The length-delimited fields of onnx-ml.proto as of ONNX 1.12; numbers are never given a new
// meaning.
constexpr auto kFields = std::to_array<Field>({
    {Kind::model, 2, Kind::text},
    {Kind::model, 3, Kind::text},
    {Kind::model, 4, Kind::text},
    {Kind::model, 6, Kind::text},
    {Kind::model, 7, Kind::graph},
    {Kind::model, 8, Kind::pair},
    {Kind::model, 14, Kind::pair},
    {Kind::model, 20, Kind::training},
    {Kind::model, 25, Kind::function},
    {Kind::training, 1, Kind::graph},
    {Kind::training, 2, Kind::graph},
    {Kind::training, 3, Kind::pair},
    {Kind::training, 4, Kind::pair},
    {Kind::graph, 1, Kind::node},
    {Kind::graph, 2, Kind::text},
    {Kind::graph, 5, Kind::tensor},
    {Kind::graph, 10, Kind::text},
    {Kind::graph, 11, Kind::value_info},
    {Kind::graph, 12, Kind::value_info},
    {Kind::graph, 13, Kind::value_info},
    {Kind::graph, 14, Kind::annotation},
    {Kind::graph, 15, Kind::sparse_tensor},
    {Kind::node, 1, Kind::name},
    {Kind::node, 2, Kind::name},
    {Kind::node, 3, Kind::text},
    {Kind::node, 4, Kind::text},
    {Kind::node, 5, Kind::attribute},
    {Kind::node, 6, Kind::text},
    {Kind::node, 7, Kind::text},
    {Kind::attribute, 1, Kind::text},
    {Kind::attribute, 4, Kind::bytes},
    {Kind::attribute, 5, Kind::tensor},
    {Kind::attribute, 6, Kind::graph},
    {Kind::attribute, 7, Kind::reals},
    {Kind::attribute, 8, Kind::varints8},
    {Kind::attribute, 9, Kind::text},
    {Kind::attribute, 10, Kind::tensor},
    {Kind::attribute, 11, Kind::graph},
    {Kind::attribute, 13, Kind::text},
    {Kind::attribute, 14, Kind::type},
    {Kind::attribute, 15, Kind::type},
    {Kind::attribute, 21, Kind::text},
    {Kind::attribute, 22, Kind::sparse_tensor},
    {Kind::attribute, 23, Kind::sparse_tensor},
    {Kind::tensor, 1, Kind::varints8},
    {Kind::tensor, 3, Kind::segment},
    {Kind::tensor, 4, Kind::reals},
    {Kind::tensor, 5, Kind::varints4},
    {Kind::tensor, 6, Kind::text},
    {Kind::tensor, 7, Kind::varints8},
    {Kind::tensor, 8, Kind::text},
    {Kind::tensor, 9, Kind::bytes},
    {Kind::tensor, 10, Kind::reals},
    {Kind::tensor, 11, Kind::varints8},
    {Kind::tensor, 12, Kind::text},
    {Kind::tensor, 13, Kind::pair},
    {Kind::sparse_tensor, 1, Kind::tensor},
    {Kind::sparse_tensor, 2, Kind::tensor},
    {Kind::sparse_tensor, 3, Kind::varints8},
    {Kind::value_info, 1, Kind::text},
    {Kind::value_info, 2, Kind::type},
    {Kind::value_info, 3, Kind::text},
    {Kind::type, 1, Kind::tensor_type},
    {Kind::type, 4, Kind::element_type},
    {Kind::type, 5, Kind::map_type},
    {Kind::type, 6, Kind::text},
    {Kind::type, 7, Kind::pair},
    {Kind::type, 8, Kind::tensor_type},
    {Kind::type, 9, Kind::element_type},
    {Kind::tensor_type, 2, Kind::shape},
    {Kind::element_type, 1, Kind::type},
    {Kind::map_type, 2, Kind::type},
    {Kind::shape, 1, Kind::dimension},
    {Kind::dimension, 2, Kind::text},
    {Kind::dimension, 3, Kind::text},
    {Kind::function, 1, Kind::text},
    {Kind::function, 4, Kind::name},
    {Kind::function, 5, Kind::name},
    {Kind::function, 6, Kind::text},
    {Kind::function, 7, Kind::node},
    {Kind::function, 8, Kind::text},
    {Kind::function, 9, Kind::pair},
    {Kind::function, 10, Kind::text},
    {Kind::annotation, 1, Kind::text},
    {Kind::annotation, 2, Kind::pair},
    {Kind::pair, 1, Kind::text},
    {Kind::pair, 2, Kind::text},
});

Kind content_of(Kind message, int number) {
  const auto found = std::find_if(kFields.begin(), kFields.end(), [&](const Field& field) {
    return field.message == message && field.number == number;
  });
  return found == kFields.end() ? Kind::unknown : found->content;
}

// The allocator's header, and the pointer in a list that grows by doubling.
constexpr Index kAllocation = 40;
constexpr Index kStringBytes = static_cast<Index>(sizeof(std::string)) + kAllocation;
constexpr Index kNumberBytes = 16;  // a number outside of a packed list, kept as an unknown field

constexpr bool is_message(Kind kind) {
  return kind < Kind::text;
}

/// Memory of an empty message.
Index message_bytes(Kind kind) {
  constexpr std::size_t kLargestOther = std::max(
      {sizeof(onnx::SparseTensorProto), sizeof(onnx::ValueInfoProto), sizeof(onnx::TypeProto),
       sizeof(onnx::TypeProto::Tensor), sizeof(onnx::TypeProto::Map),
       sizeof(onnx::TensorShapeProto), sizeof(onnx::TensorShapeProto::Dimension),
       sizeof(onnx::TensorAnnotation), sizeof(onnx::StringStringEntryProto),
       sizeof(onnx::TensorProto::Segment), sizeof(onnx::OperatorSetIdProto)});
  const auto bytes = [&]() -> std::size_t {
    switch (kind) {
      case Kind::graph:
        return sizeof(onnx::GraphProto);
      case Kind::node:
        return sizeof(onnx::NodeProto);
      case Kind::attribute:
        return sizeof(onnx::AttributeProto);
      case Kind::tensor:
        return sizeof(onnx::TensorProto);
      case Kind::function:
        return sizeof(onnx::FunctionProto);
      case Kind::training:
        return sizeof(onnx::TrainingInfoProto);
      default:
        return kLargestOther;
    }
  };
  return static_cast<Index>(bytes()) + kAllocation;
}

Error malformed(const CodedInputStream& stream) {
  return {ErrorCode::invalid_input,
          fmt::format("not an ONNX model: damaged at byte {}", stream.CurrentPosition())};
}

class Scanner {
 public:
  Scanner(std::span<const std::byte> bytes, const ImportLimits& limits)
      : limits_(limits),
        most_heap_bytes_(limits.heap_factor * std::ssize(bytes) + limits.heap_bytes),
        stream_(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                static_cast<int>(bytes.size())) {
    stream_.SetTotalBytesLimit(std::numeric_limits<int>::max());
    stream_.PushLimit(static_cast<int>(bytes.size()));
  }

  /// Walks over one message; the stream ends where it ends.
  Result<void> message(Kind kind, Index depth) {
    if (depth > limits_.depth) return passed("messages within messages", limits_.depth);
    Index attributes = 0;
    while (stream_.BytesUntilLimit() > 0) {
      std::uint32_t tag = 0;
      if (!stream_.ReadVarint32(&tag) || tag >> 3 == 0) return malformed(stream_);
      const int number = static_cast<int>(tag >> 3);
      constexpr std::uint32_t kLengthDelimited = 2;
      if ((tag & 7) != kLengthDelimited) {
        RTAI_TRY_VOID(scalar(tag & 7));
        continue;
      }
      const Kind content = content_of(kind, number);
      if (content == Kind::attribute && ++attributes > limits_.attributes_per_node) {
        return passed("attributes of one node", limits_.attributes_per_node);
      }
      RTAI_TRY_VOID(delimited(content, depth));
    }
    return {};
  }

 private:
  Error passed(std::string_view what, Index limit) const {
    return {ErrorCode::unsupported,
            fmt::format("more than {} {} (byte {})", limit, what, stream_.CurrentPosition())};
  }

  Result<void> scalar(std::uint32_t wire_type) {
    std::uint64_t value = 0;
    const bool read = wire_type == 0   ? stream_.ReadVarint64(&value)
                      : wire_type == 1 ? stream_.Skip(8)
                      : wire_type == 5 ? stream_.Skip(4)
                                       : false;  // groups are not used by ONNX
    if (!read) return malformed(stream_);
    return spend(kNumberBytes);
  }

  Result<void> delimited(Kind content, Index depth) {
    std::uint32_t length = 0;
    if (!stream_.ReadVarint32(&length) ||
        length > static_cast<std::uint32_t>(stream_.BytesUntilLimit())) {
      return malformed(stream_);
    }
    RTAI_TRY_VOID(count(content, length));
    const auto limit = stream_.PushLimit(static_cast<int>(length));
    if (is_message(content)) {
      RTAI_TRY_VOID(message(content, depth + 1));
    } else if (content == Kind::varints4 || content == Kind::varints8) {
      RTAI_TRY_VOID(packed_varints(content == Kind::varints4 ? 4 : 8));
    } else if (!stream_.Skip(static_cast<int>(length))) {
      return malformed(stream_);
    }
    stream_.PopLimit(limit);
    return {};
  }

  Result<void> count(Kind content, Index length) {
    if (is_message(content)) RTAI_TRY_VOID(spend(message_bytes(content)));
    switch (content) {
      case Kind::node:
        if (++nodes_ > limits_.nodes) return passed("nodes", limits_.nodes);
        return {};
      case Kind::tensor:
        if (++tensors_ > limits_.tensors) return passed("tensors", limits_.tensors);
        return {};
      case Kind::name:
        if (++names_ > limits_.names) return passed("inputs and outputs of nodes", limits_.names);
        return text(length);
      case Kind::text:
      case Kind::unknown:
        return text(length);
      case Kind::bytes:
      case Kind::reals:
        return spend(kStringBytes + length);
      default:
        return {};
    }
  }

  Result<void> text(Index length) {
    text_bytes_ += length;
    if (length > limits_.longest_text) return passed("bytes in one text", limits_.longest_text);
    if (text_bytes_ > limits_.text_bytes) return passed("bytes of text", limits_.text_bytes);
    return spend(kStringBytes + length);
  }

  /// Each byte without its highest bit ends a number.
  Result<void> packed_varints(Index bytes_each) {
    while (stream_.BytesUntilLimit() > 0) {
      const void* data = nullptr;
      int size = 0;
      if (!stream_.GetDirectBufferPointer(&data, &size)) return malformed(stream_);
      const auto* bytes = static_cast<const std::uint8_t*>(data);
      const Index numbers =
          std::count_if(bytes, bytes + size, [](std::uint8_t b) { return b < 0x80; });
      RTAI_TRY_VOID(spend(bytes_each * numbers));
      stream_.Skip(size);
    }
    return {};
  }

  Result<void> spend(Index bytes) {
    heap_bytes_ += bytes;
    if (heap_bytes_ > most_heap_bytes_)
      return passed("bytes of memory for a file of this size", most_heap_bytes_);
    return {};
  }

  const ImportLimits& limits_;
  Index most_heap_bytes_;
  CodedInputStream stream_;
  Index heap_bytes_ = 0;
  Index nodes_ = 0;
  Index tensors_ = 0;
  Index names_ = 0;
  Index text_bytes_ = 0;
};

}  // namespace

Result<void> scan_model(std::span<const std::byte> bytes, const ImportLimits& limits) {
  return Scanner(bytes, limits).message(Kind::model, 1);
}

}  // namespace rtai::onnx_io
