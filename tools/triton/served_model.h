// A model of the repository: its engine and what the configuration asks of it.
#pragma once

#include "runtime/base/result.h"
#include "runtime/engine/engine.h"
#include "tools/answer_model.h"
#include "tools/serve/input_limits.h"
#include "tools/triton/config.h"

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace rtai::triton {

/// Read-only once loaded: all instances of the model share it, the weights above all.
struct ServedModel {
  std::shared_ptr<const engine::Engine> engine;  // also of the instances' sessions
  tools::AnswerModel answers;
  serve::InputLimits limits;
  Settings settings;
  Tensors tensors;
  std::vector<std::string> outputs = {};  // that the configuration lists
  Index batch_estimate = 0;  // tokens of the batch that the server puts together, under its lock
};

/// Reads the engine in `folder`, that of a version. Errors: as of the file and the settings.
Result<std::unique_ptr<ServedModel>> load_model(const Json& config,
                                                const std::filesystem::path& folder);

}  // namespace rtai::triton
