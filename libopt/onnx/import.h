// ONNX files as graphs: the only way into rtai for a model that somebody else made.
//
// Nothing a file holds is trusted. It may be from any exporter: nodes in any order, initializers
// listed as inputs, Constant nodes, Identity aliases, old spellings. What comes out uses the
// operators of libopt/ir/ops.inc in the spelling of the newest ONNX version alone.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/log.h"
#include "runtime/base/result.h"

#include <cstddef>
#include <filesystem>
#include <span>

namespace rtai::onnx_io {

/// The newest version of the default operator set whose operators mean what the graph's mean.
inline constexpr Index kNewestOpset = 27;

/// What a file may ask for. All of it is counted before memory is taken.
struct ImportLimits {
  Index nodes = 200'000;
  Index tensors = 100'000;  // initializers and constants
  Index names = 2'000'000;  // inputs and outputs of nodes
  Index attributes_per_node = 64;
  Index text_bytes = Index{64} << 20;    // names and documentation, all together
  Index longest_text = Index{1} << 20;   // bytes
  Index depth = 64;                      // messages within messages
  Index weight_bytes = Index{16} << 30;  // external data, all together
  /// Memory of the parsed file, estimated: factor * file size + constant. Numbers of 4 and 2 bits
  /// take two and four times their bytes of the file, one tensor after the other.
  Index heap_factor = 4;
  Index heap_bytes = Index{256} << 20;
};

struct ImportOptions {
  ImportLimits limits = {};
  /// External data may be a hard link. Refused otherwise: it could be another name of a secret.
  bool allow_hardlinks = false;
};

/// Reads a model and its external data. The caller adds the name of the file to an error.
///
/// The graph keeps the weights without a second copy; float16, bfloat16 and double stay as they
/// are. Its metadata: "producer", "opset", "ir_version", "name". The log hears of what was taken to
/// mean less than it says (Dropout in training mode).
///
/// Errors: not_found, io; invalid_input for what is not a valid model, naming the place;
/// unsupported with all operators that rtai lacks, and for what a limit refuses; device when memory
/// runs out.
Result<ir::Graph> import_onnx(const std::filesystem::path& file,
                              const ImportOptions& options = {},
                              Log& log = silent_log());

/// As above for a model in memory; external data is refused.
Result<ir::Graph> import_onnx(std::span<const std::byte> model,
                              const ImportOptions& options = {},
                              Log& log = silent_log());

/// One serialized TensorProto, as in ONNX's test data.
///
/// Errors: invalid_input; unsupported for element types that rtai lacks.
Result<ir::Tensor> read_tensor(std::span<const std::byte> bytes);

}  // namespace rtai::onnx_io
