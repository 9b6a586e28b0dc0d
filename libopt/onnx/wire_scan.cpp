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
enum class Content {
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
  Content message;
  int number;
  Content content;
};

// The length-delimited fields of onnx-ml.proto as of ONNX 1.12; numbers are never given a new
// meaning.
constexpr auto kFields = std::to_array<Field>({
    {Content::model, 2, Content::text},
    {Content::model, 3, Content::text},
    {Content::model, 4, Content::text},
    {Content::model, 6, Content::text},
    {Content::model, 7, Content::graph},
    {Content::model, 8, Content::pair},
    {Content::model, 14, Content::pair},
    {Content::model, 20, Content::training},
    {Content::model, 25, Content::function},
    {Content::training, 1, Content::graph},
    {Content::training, 2, Content::graph},
    {Content::training, 3, Content::pair},
    {Content::training, 4, Content::pair},
    {Content::graph, 1, Content::node},
    {Content::graph, 2, Content::text},
    {Content::graph, 5, Content::tensor},
    {Content::graph, 10, Content::text},
    {Content::graph, 11, Content::value_info},
    {Content::graph, 12, Content::value_info},
    {Content::graph, 13, Content::value_info},
    {Content::graph, 14, Content::annotation},
    {Content::graph, 15, Content::sparse_tensor},
    {Content::node, 1, Content::name},
    {Content::node, 2, Content::name},
    {Content::node, 3, Content::text},
    {Content::node, 4, Content::text},
    {Content::node, 5, Content::attribute},
    {Content::node, 6, Content::text},
    {Content::node, 7, Content::text},
    {Content::attribute, 1, Content::text},
    {Content::attribute, 4, Content::bytes},
    {Content::attribute, 5, Content::tensor},
    {Content::attribute, 6, Content::graph},
    {Content::attribute, 7, Content::reals},
    {Content::attribute, 8, Content::varints8},
    {Content::attribute, 9, Content::text},
    {Content::attribute, 10, Content::tensor},
    {Content::attribute, 11, Content::graph},
    {Content::attribute, 13, Content::text},
    {Content::attribute, 14, Content::type},
    {Content::attribute, 15, Content::type},
    {Content::attribute, 21, Content::text},
    {Content::attribute, 22, Content::sparse_tensor},
    {Content::attribute, 23, Content::sparse_tensor},
    {Content::tensor, 1, Content::varints8},
    {Content::tensor, 3, Content::segment},
    {Content::tensor, 4, Content::reals},
    {Content::tensor, 5, Content::varints4},
    {Content::tensor, 6, Content::text},
    {Content::tensor, 7, Content::varints8},
    {Content::tensor, 8, Content::text},
    {Content::tensor, 9, Content::bytes},
    {Content::tensor, 10, Content::reals},
    {Content::tensor, 11, Content::varints8},
    {Content::tensor, 12, Content::text},
    {Content::tensor, 13, Content::pair},
    {Content::sparse_tensor, 1, Content::tensor},
    {Content::sparse_tensor, 2, Content::tensor},
    {Content::sparse_tensor, 3, Content::varints8},
    {Content::value_info, 1, Content::text},
    {Content::value_info, 2, Content::type},
    {Content::value_info, 3, Content::text},
    {Content::type, 1, Content::tensor_type},
    {Content::type, 4, Content::element_type},
    {Content::type, 5, Content::map_type},
    {Content::type, 6, Content::text},
    {Content::type, 7, Content::pair},
    {Content::type, 8, Content::tensor_type},
    {Content::type, 9, Content::element_type},
    {Content::tensor_type, 2, Content::shape},
    {Content::element_type, 1, Content::type},
    {Content::map_type, 2, Content::type},
    {Content::shape, 1, Content::dimension},
    {Content::dimension, 2, Content::text},
    {Content::dimension, 3, Content::text},
    {Content::function, 1, Content::text},
    {Content::function, 4, Content::name},
    {Content::function, 5, Content::name},
    {Content::function, 6, Content::text},
    {Content::function, 7, Content::node},
    {Content::function, 8, Content::text},
    {Content::function, 9, Content::pair},
    {Content::function, 10, Content::text},
    {Content::annotation, 1, Content::text},
    {Content::annotation, 2, Content::pair},
    {Content::pair, 1, Content::text},
    {Content::pair, 2, Content::text},
});

Content content_of(Content message, int number) {
  const auto found = std::find_if(kFields.begin(), kFields.end(), [&](const Field& field) {
    return field.message == message && field.number == number;
  });
  return found == kFields.end() ? Content::unknown : found->content;
}

// The allocator's header, and the pointer in a list that grows by doubling.
constexpr Index kAllocation = 40;
constexpr Index kStringBytes = static_cast<Index>(sizeof(std::string)) + kAllocation;
constexpr Index kNumberBytes = 16;  // a number outside of a packed list, kept as an unknown field

constexpr bool is_message(Content kind) {
  return kind < Content::text;
}

/// Memory of an empty message.
Index message_bytes(Content kind) {
  constexpr std::size_t kLargestOther = std::max(
      {sizeof(onnx::SparseTensorProto), sizeof(onnx::ValueInfoProto), sizeof(onnx::TypeProto),
       sizeof(onnx::TypeProto::Tensor), sizeof(onnx::TypeProto::Map),
       sizeof(onnx::TensorShapeProto), sizeof(onnx::TensorShapeProto::Dimension),
       sizeof(onnx::TensorAnnotation), sizeof(onnx::StringStringEntryProto),
       sizeof(onnx::TensorProto::Segment), sizeof(onnx::OperatorSetIdProto)});
  const auto bytes = [&]() -> std::size_t {
    switch (kind) {
      case Content::graph:
        return sizeof(onnx::GraphProto);
      case Content::node:
        return sizeof(onnx::NodeProto);
      case Content::attribute:
        return sizeof(onnx::AttributeProto);
      case Content::tensor:
        return sizeof(onnx::TensorProto);
      case Content::function:
        return sizeof(onnx::FunctionProto);
      case Content::training:
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
  Result<void> message(Content kind, Index depth) {
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
      const Content content = content_of(kind, number);
      if (content == Content::attribute && ++attributes > limits_.attributes_per_node) {
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

  Result<void> delimited(Content content, Index depth) {
    std::uint32_t length = 0;
    if (!stream_.ReadVarint32(&length) ||
        length > static_cast<std::uint32_t>(stream_.BytesUntilLimit())) {
      return malformed(stream_);
    }
    RTAI_TRY_VOID(count(content, length));
    const auto limit = stream_.PushLimit(static_cast<int>(length));
    if (is_message(content)) {
      RTAI_TRY_VOID(message(content, depth + 1));
    } else if (content == Content::varints4 || content == Content::varints8) {
      RTAI_TRY_VOID(packed_varints(content == Content::varints4 ? 4 : 8));
    } else if (!stream_.Skip(static_cast<int>(length))) {
      return malformed(stream_);
    }
    stream_.PopLimit(limit);
    return {};
  }

  Result<void> count(Content content, Index length) {
    if (is_message(content)) RTAI_TRY_VOID(spend(message_bytes(content)));
    switch (content) {
      case Content::node:
        if (++nodes_ > limits_.nodes) return passed("nodes", limits_.nodes);
        return {};
      case Content::tensor:
        if (++tensors_ > limits_.tensors) return passed("tensors", limits_.tensors);
        return {};
      case Content::name:
        if (++names_ > limits_.names) return passed("inputs and outputs of nodes", limits_.names);
        return text(length);
      case Content::text:
      case Content::unknown:
        return text(length);
      case Content::bytes:
      case Content::reals:
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
  return Scanner(bytes, limits).message(Content::model, 1);
}

}  // namespace rtai::onnx_io
