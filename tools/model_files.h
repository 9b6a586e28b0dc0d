// What stands beside the weights in a Hugging Face folder.
#pragma once

#include "runtime/base/log.h"
#include "runtime/base/result.h"
#include "tools/model.h"

#include <array>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

/// Where the graph of a folder is, the first that is there.
inline constexpr std::array kGraphFiles = {"model.onnx", "onnx/model.onnx"};

/// How a sentence-transformers folder turns token vectors into one.
struct Pooling {
  bool mean = true;  // false: the first token's
  bool normalize = false;
};

struct ModelFiles {
  std::filesystem::path onnx;
  std::optional<text::Tokenizer> tokenizer;
  std::vector<std::string> labels;
  std::optional<Task> task;  // as config.json's architectures say
  bool multi_label = false;
  std::string model_type;  // "bert"
  std::optional<Pooling> pooling;
  std::string config_text;  // of config.json, as it is
};

/// Finds the files of `path`, a folder or an ONNX file with the others beside it. A tokenizer that
/// rtai cannot use is a warning: the model can still run on ids.
///
/// Errors: not_found if there is no ONNX file; invalid_input for malformed JSON, naming file and
/// key.
Result<ModelFiles> find_model_files(const std::filesystem::path& path, Log& log);

}  // namespace rtai::tools
