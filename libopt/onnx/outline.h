// What an ONNX file holds, for those that cannot be imported.
#pragma once

#include "libopt/onnx/import.h"

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace rtai::onnx_io {

/// What a file holds, whether or not rtai can run it.
struct Outline {
  std::string producer;
  std::map<std::string, Index> opsets;     // by domain; "ai.onnx" is ONNX's own
  std::vector<std::string> inputs;         // "input_ids i64[batch, seq]"
  std::vector<std::string> outputs;
  std::map<std::string, Index> operators;  // how many nodes of each, "com.microsoft.Gelu"
  Index parameters = 0;                    // elements of initializers
};

/// Errors: not_found, io; invalid_input for what is not an ONNX model; unsupported for what a limit
/// refuses.
Result<Outline> outline_onnx(const std::filesystem::path& file, const ImportOptions& options = {});

}  // namespace rtai::onnx_io
