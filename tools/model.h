// Models as commands are given them: an ONNX file, a folder of Hugging Face files, or an engine.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/onnx/outline.h"
#include "runtime/base/log.h"
#include "runtime/base/result.h"
#include "runtime/engine/engine.h"
#include "tools/answer_model.h"

#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace rtai::tools {

/// A model with what travels with it. Either `graph` is there (it came from ONNX and can be pruned
/// and quantized) or `engine` (it came from an engine and can only run).
struct Model : AnswerModel {
  std::optional<ir::Graph> graph;
  std::shared_ptr<const engine::Engine> engine;
  std::map<std::string, std::string> metadata;  // travels into engines
  std::uint64_t bytes = 0;                      // of the file the weights came from
  std::string config_text;                      // config.json as it was, for folders
  std::optional<onnx_io::Outline> outline;      // of the ONNX file it came from

  /// Bytes of the weights' data type that dominates: "f32", "i8".
  std::string dtype() const;
};

/// Where the weights of an engine file are: engine::open, or engine::read.
enum class EngineMemory : std::uint8_t { mapped, own };

/// Loads any form. ONNX is imported, raised to the transformer level and proved against the
/// original graph.
///
/// Errors: those of reading the files, each with the file's name in front.
Result<Model> load_model(const std::filesystem::path& path,
                         Log& log,
                         EngineMemory memory = EngineMemory::mapped);

/// The model that is in an engine. Errors: those of its tokenizer, `name` in front.
Result<Model> model_of(engine::Engine engine, const std::string& name, Log& log);

/// The engine of a model: its own, or one lowered from its graph with tokenizer, labels, metadata.
Result<std::shared_ptr<const engine::Engine>> make_engine(const Model& model);

/// Writes a model that has a graph, by the ending of `path`: .onnx, .rtai, or a folder with
/// model.onnx, config.json, and the tokenizer's files. A folder appears whole or not at all.
///
/// Errors: invalid_input for another ending; those of exporting and writing.
Result<void> save_model(const Model& model, const std::filesystem::path& path);

/// Checks before hours of work that `path` can be written: the ending is known, the folder exists.
Result<void> check_output_path(const std::filesystem::path& path);

}  // namespace rtai::tools
