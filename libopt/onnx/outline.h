// What an ONNX file holds in its own words, also for files that cannot be imported.
#pragma once

#include "libopt/ir/obstacle.h"
#include "libopt/onnx/import.h"

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace rtai::onnx_io {

/// An input or output as the file declares it.
struct DeclaredValue {
  std::string name;
  std::string element;                       // "i64"; "string", "sequence", ... for what rtai lacks
  std::optional<std::vector<ir::Dim>> dims;  // nothing: not declared; "?": neither size nor name
};

/// "[batch, seq]"; empty if the dimensions are not declared.
std::string dims_text(const DeclaredValue& value);

/// What a file holds, whether or not rtai can run it.
struct Outline {
  std::string producer;                 // name and version, as far as they are given
  Index ir_version = 0;                 // 0: not given
  std::map<std::string, Index> opsets;  // by domain; "ai.onnx" is ONNX's own
  std::vector<DeclaredValue> inputs;    // without those that are initializers
  std::vector<DeclaredValue> outputs;
  std::map<std::string, Index> operators;  // how many nodes of each, "com.microsoft.Gelu"
  Index parameters = 0;                    // elements of initializers
  std::vector<ir::Obstacle> lacking;       // nodes whose operators rtai lacks, in branches, too
};

/// Errors: not_found, io; invalid_input for what is not an ONNX model; unsupported for what a limit
/// refuses.
Result<Outline> outline_onnx(const std::filesystem::path& file, const ImportOptions& options = {});

/// A graph, and what the file says of itself.
struct OutlinedGraph {
  Outline outline;
  ir::Graph graph;
};

/// import_onnx and outline_onnx of one reading. Errors: as import_onnx.
Result<OutlinedGraph> import_with_outline(const std::filesystem::path& file,
                                          const ImportOptions& options = {},
                                          Log& log = silent_log());

}  // namespace rtai::onnx_io
