// A model's configuration in Triton (config.pbtxt, which the server hands over as JSON): what it
// asks of rtai, what it leaves open, and whether it fits the engine.
//
// Source: Triton's model_config.proto and its documentation of the model configuration.
#pragma once

#include "runtime/base/result.h"
#include "tools/json.h"
#include "tools/serve/tensors.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::triton {

using tools::Json;

/// From default_model_filename and the parameters of the same names.
struct Settings {
  std::string file = "model.rtai";  // in the folder of the version
  int threads = 0;                  // of an instance; 0: usable cores
  std::string target;               // instruction set; empty: the best
  Index batch_tokens = 1024;        // of a batch, unless one text alone is longer
};

/// Errors: invalid_input for a parameter that rtai does not know or a value it cannot use.
Result<Settings> read_settings(const Json& config);

/// The tensors of an engine.
struct Tensors {
  std::vector<serve::TensorInfo> inputs;
  std::vector<serve::TensorInfo> outputs;
};

/// Sizes as Triton counts them: without the batch, and 1 where nothing else is left.
std::vector<std::int64_t> dims_of(const serve::TensorInfo& tensor);

/// Fills in what is not there: inputs, outputs, the largest batch, batching without delay. "answer"
/// is among the outputs where nothing else says it: for words.
Json complete_config(Json config, const Tensors& tensors);

/// Errors: invalid_input for inputs, outputs or a largest batch that do not fit the engine.
Result<void> check_config(const Json& config, const Tensors& tensors);

/// The names of its outputs, in order.
std::vector<std::string> output_names(const Json& config);

}  // namespace rtai::triton
