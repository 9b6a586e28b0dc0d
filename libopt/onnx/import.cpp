#include "libopt/onnx/import.h"

#include "libopt/onnx/internal/convert.h"
#include "libopt/onnx/internal/file.h"
#include "libopt/onnx/internal/outline_of.h"
#include "libopt/onnx/internal/wire_scan.h"
#include "libopt/onnx/outline.h"
#include "runtime/base/aligned_buffer.h"

#include <fmt/format.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <limits>
#include <new>
#include <type_traits>

namespace rtai::onnx_io {
namespace {

constexpr Index kMostFileBytes = std::numeric_limits<std::int32_t>::max();  // protobuf's limit
constexpr int kRecursionLimit = 64;

Result<void> parse(std::span<const std::byte> bytes, onnx::ModelProto& model) {
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const std::uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetTotalBytesLimit(static_cast<int>(kMostFileBytes));
  stream.SetRecursionLimit(kRecursionLimit);
  if (model.ParseFromCodedStream(&stream) && stream.ConsumedEntireMessage()) return {};
  return Error{ErrorCode::invalid_input, "not an ONNX model: protobuf cannot parse it"};
}

Result<AlignedBuffer> read_whole(const std::filesystem::path& path) {
  RTAI_TRY(const InputFile file, InputFile::open(path));
  if (file.size() > kMostFileBytes) {
    return Error{
        ErrorCode::unsupported,
        fmt::format("{} bytes; a model file above {} bytes must keep its weights in external data",
                    file.size(), kMostFileBytes)};
  }
  // Read, not mapped: what was checked cannot change, and a file cut short is an error, not a
  // signal.
  RTAI_TRY(AlignedBuffer bytes, AlignedBuffer::make(static_cast<std::size_t>(file.size())));
  RTAI_TRY_VOID(file.read(0, bytes.span()));
  return bytes;
}

/// Parses `bytes` and lets go of them before the weights are looked at.
Result<OutlinedGraph> import_bytes(AlignedBuffer owned,
                                   std::span<const std::byte> bytes,
                                   const std::filesystem::path& path,
                                   const ImportOptions& options,
                                   Log& log) {
  RTAI_TRY_VOID(scan_model(bytes, options.limits));
  onnx::ModelProto model;
  RTAI_TRY_VOID(parse(bytes, model));
  owned = {};
  OutlinedGraph result{.outline = outline_of(model), .graph = {}};
  ExternalData external(path, options);
  RTAI_TRY(result.graph, convert(model, external, log));
  RTAI_TRY_VOID(ir::verify(result.graph));
  return result;
}

template <class F>
std::invoke_result_t<F> without_exceptions(F&& f) {
  try {
    return f();
  } catch (const std::bad_alloc&) {
    return Error{ErrorCode::device, "out of memory"};
  } catch (const std::exception& error) {  // protobuf reports its own defects this way
    return Error{ErrorCode::internal, error.what()};
  }
}

}  // namespace

Result<ir::Graph> import_onnx(const std::filesystem::path& file,
                              const ImportOptions& options,
                              Log& log) {
  RTAI_TRY(OutlinedGraph imported, import_with_outline(file, options, log));
  return std::move(imported.graph);
}

Result<OutlinedGraph> import_with_outline(const std::filesystem::path& file,
                                          const ImportOptions& options,
                                          Log& log) {
  return without_exceptions([&]() -> Result<OutlinedGraph> {
    RTAI_TRY(AlignedBuffer bytes, read_whole(file));
    const std::span<const std::byte> view = bytes.span();
    return import_bytes(std::move(bytes), view, file, options, log);
  });
}

Result<Outline> outline_onnx(const std::filesystem::path& file, const ImportOptions& options) {
  return without_exceptions([&]() -> Result<Outline> {
    RTAI_TRY(const AlignedBuffer bytes, read_whole(file));
    RTAI_TRY_VOID(scan_model(bytes.span(), options.limits));
    onnx::ModelProto model;
    RTAI_TRY_VOID(parse(bytes.span(), model));
    if (!model.has_graph()) return no_graph();
    return outline_of(model);
  });
}

Result<ir::Graph> import_onnx(std::span<const std::byte> model,
                              const ImportOptions& options,
                              Log& log) {
  return without_exceptions([&]() -> Result<ir::Graph> {
    if (std::ssize(model) > kMostFileBytes) {
      return Error{ErrorCode::unsupported, "a model above 2 GiB"};
    }
    RTAI_TRY(OutlinedGraph imported, import_bytes({}, model, {}, options, log));
    return std::move(imported.graph);
  });
}

}  // namespace rtai::onnx_io
