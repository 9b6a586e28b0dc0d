#include "tools/model.h"

#include "libopt/ir/ops.h"
#include "libopt/lower/lower.h"
#include "libopt/onnx/export.h"
#include "runtime/base/atomic_write.h"
#include "runtime/base/digest.h"
#include "runtime/base/mapped_file.h"
#include "runtime/base/system_error.h"
#include "tools/json.h"
#include "tools/model_files.h"
#include "tools/tokenizer_files.h"
#include "tools/understanding.h"
#include "tools/version.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <future>

namespace rtai::tools {
namespace {

namespace fs = std::filesystem;

/// What a model that rtai changed says about its making, in an ONNX file as in an engine.
constexpr std::array<const char*, 3> kTravellingFacts = {"pipeline", "source_name",
                                                         "source_sha256"};

bool is_engine_file(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  if (path.extension() == ".rtai") return true;
  const Result<MappedFile> file = MappedFile::open(path);
  return file && engine::looks_like_engine(file->bytes());
}

/// Appends what sentence-transformers does after the encoder.
Result<void> append_pooling(ir::Graph& graph, const Pooling& pooling) {
  ir::ValueId hidden = graph.outputs()[0];
  if (graph.type(hidden).dims->front() != ir::Dim("tokens")) return {};  // the graph pools already
  RTAI_TRY(hidden,
           ir::append(graph, pooling.mean ? ir::Op::mean_pool : ir::Op::first_token, {hidden}));
  if (pooling.normalize) {
    RTAI_TRY(hidden, ir::append(graph, ir::Op::l2_normalize, {hidden}));
  }
  graph.rename(hidden, "sentence_embedding");
  graph.set_outputs({hidden});
  graph.erase_dead();
  return {};
}

/// What the outputs look like, when no file says what they are for.
Task guess_task(const ir::Graph& graph, std::size_t labels) {
  const ir::ValueId first = graph.outputs()[0];
  const std::string& name = graph.name(first);
  const std::vector<ir::Dim>& dims = *graph.type(first).dims;
  const bool per_token = dims[0] == ir::Dim("tokens");
  if (name == "start_logits") return Task::question_answering;
  if (name.find("embedding") != std::string::npos && !per_token) return Task::sentence_embedding;
  const bool classes = dims[1] == ir::Dim(static_cast<Index>(labels)) || name == "logits";
  if (!classes) return Task::unknown;
  return per_token ? Task::token_classification : Task::sequence_classification;
}

/// Read in pieces: of a mapping every page would count as memory of the import.
Result<Sha256Digest> digest_of(const fs::path& path) {
  constexpr std::size_t kPieceBytes = 1 << 20;
  // A pipe would wait for a writer; what it is, the import says.
  if (!fs::is_regular_file(path))
    return Error{ErrorCode::invalid_input,
                 fmt::format("{}: expected a regular file", path.string())};
  std::vector<char> piece(kPieceBytes);
  Sha256 digest;
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  while (file) {
    file.read(piece.data(), std::ssize(piece));
    const auto read = static_cast<std::size_t>(file.gcount());
    digest.update(std::as_bytes(std::span(piece).first(read)));
  }
  if (!file.eof()) {  // the C library opens files with memory of its own
    return Error{error_code(errno), fmt::format("{}: cannot be read", path.string())};
  }
  return digest.finish();
}

Result<Model> load_onnx(const fs::path& path, Log& log) {
  RTAI_TRY(ModelFiles files, find_model_files(path, log));
  // Beside the import, which takes longer.
  std::future<Result<Sha256Digest>> digest = std::async(std::launch::async, &digest_of, files.onnx);
  RTAI_TRY(auto file, onnx_io::import_with_outline(files.onnx, {}, log).in(files.onnx.string()));
  const ir::Graph& imported = file.graph;
  RTAI_TRY(Understood understood, understand(imported, log).in(files.onnx.string()));
  log.info(fmt::format("{}: understood and proved, largest difference {:.1e}", path.string(),
                       understood.difference));
  ir::Graph graph = std::move(understood.graph);

  Model model;
  model.name = path.string();
  model.bytes = fs::file_size(files.onnx);
  RTAI_TRY(const Sha256Digest source, digest.get());
  model.metadata["source_sha256"] = to_hex(source);
  model.metadata["source_name"] = files.onnx.filename().string();
  for (const char* key : kTravellingFacts) {
    const auto found = imported.metadata().find(std::string("rtai.") + key);
    if (found != imported.metadata().end()) model.metadata[key] = found->second;
  }
  if (!files.model_type.empty()) model.metadata["model_type"] = files.model_type;
  if (files.multi_label) model.metadata["problem_type"] = "multi_label_classification";
  if (!understood.int8.empty()) {
    log.info(fmt::format("{}: {}", path.string(), understood.int8));
    model.metadata["imported_int8"] = understood.int8;
  }
  if (files.pooling) RTAI_TRY_VOID(append_pooling(graph, *files.pooling));
  model.task = files.pooling ? Task::sentence_embedding
                             : files.task.value_or(guess_task(graph, files.labels.size()));
  name_classes(model, std::move(files.labels));
  model.multi_label = files.multi_label;
  model.tokenizer = std::move(files.tokenizer);
  model.config_text = std::move(files.config_text);
  model.outline = std::move(file.outline);
  model.graph = std::move(graph);
  return model;
}

/// What the embeddings of a model have rows for.
struct EmbeddingRows {
  Index words = 0;      // 0: the model reads no ids
  Index positions = 0;  // 0: no limit
};

EmbeddingRows embedding_rows(const Model& model) {
  EmbeddingRows rows;
  if (model.engine) {
    rows.positions = engine::longest_sequence(model.engine->program);
    for (const engine::Step& step : model.engine->program.steps) {
      if (step.op != engine::OpKind::embedding) continue;
      const auto word = static_cast<std::size_t>(step.tensors[engine::embedding_tensor::word]);
      rows.words = model.engine->program.tensors[word].dims[0];
    }
    return rows;
  }
  for (const ir::NodeId id : model.graph->nodes_of(ir::Op::embedding)) {
    const ir::Node& node = model.graph->node(id);
    rows.words = model.graph->constant(node.input(ir::Embedding::word))->dim(0);
    const ir::Tensor* position = model.graph->constant(node.input(ir::Embedding::position));
    if (position == nullptr) continue;
    rows.positions = position->dim(0) - node.attributes().integer("position_offset", 0);
  }
  return rows;
}

/// The tokenizer must give ids and lengths that the model has rows for.
Result<void> fit_tokenizer(Model& model, Log& log) {
  if (!model.tokenizer) return {};
  const EmbeddingRows rows = embedding_rows(model);
  const Index limit = model.tokenizer->settings().max_length;
  if (rows.positions > 0 && (limit == 0 || rows.positions < limit)) {
    RTAI_TRY_VOID(model.tokenizer->set_max_length(static_cast<std::int32_t>(rows.positions)));
  }
  if (rows.words > 0 && model.tokenizer->id_limit() > rows.words) {
    log.warning(
        fmt::format("{}: the tokenizer knows {} ids, the model has {}: some texts cannot be run",
                    model.name, model.tokenizer->id_limit(), rows.words));
  }
  return {};
}

Result<std::vector<std::byte>> onnx_bytes(const Model& model) {
  // Where the model came from and what was done to it go on with it.
  std::map<std::string, std::string> facts;
  for (const char* key : kTravellingFacts) {
    if (const auto found = model.metadata.find(key); found != model.metadata.end())
      facts.emplace(*found);
  }
  return onnx_io::export_onnx(
      *model.graph, {.producer_version = std::string(version()), .facts = std::move(facts)});
}

/// config.json for a model that did not bring one.
std::string make_config(const Model& model) {
  nlohmann::ordered_json config = {{"model_type", "bert"},
                                   {"id2label", nlohmann::ordered_json::object()}};
  for (std::size_t i = 0; i < model.labels.size(); ++i)
    config["id2label"][std::to_string(i)] = model.labels[i];
  return pretty(config);
}

/// Writes the files of a folder, the model last: until it is there the folder is not taken for one.
Result<void> fill_folder(const Model& model, const fs::path& folder) {
  RTAI_TRY(const std::vector<std::byte> onnx, onnx_bytes(model));
  if (model.tokenizer) RTAI_TRY_VOID(save_tokenizer(*model.tokenizer, folder));
  RTAI_TRY_VOID(write_file_atomically(
      folder / "config.json", model.config_text.empty() ? make_config(model) : model.config_text));
  const std::span<const std::byte> part(onnx);
  return write_file_atomically(folder / "model.onnx", std::span(&part, 1));
}

/// A new folder is filled under another name and renamed; in one that exists each file is replaced
/// whole, and what else lies there stays.
Result<void> save_folder(const Model& model, const fs::path& folder) {
  std::error_code status;
  if (fs::is_directory(folder, status)) return fill_folder(model, folder);
  return write_folder_atomically(
      folder, [&model](const fs::path& staging) { return fill_folder(model, staging); });
}

fs::path without_trailing_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

}  // namespace

std::string Model::dtype() const {
  std::array<std::uint64_t, kDTypeCount> totals{};
  if (graph) {
    for (const ir::ValueId id : graph->constants()) {
      const ir::Tensor& tensor = *graph->constant(id);
      totals[static_cast<std::size_t>(tensor.dtype())] += tensor.bytes().size();
    }
  } else if (engine) {
    for (const engine::TensorInfo& tensor : engine->program.tensors) {
      totals[static_cast<std::size_t>(tensor.dtype)] += tensor.bytes;
    }
  }
  const auto* largest = std::max_element(totals.begin(), totals.end());
  return std::string(dtype_name(static_cast<DType>(largest - totals.begin())));
}

Result<Model> model_of(engine::Engine engine, const std::string& name, Log& log) {
  RTAI_TRY(AnswerModel answers, answer_model(engine, name));
  Model model;
  static_cast<AnswerModel&>(model) = std::move(answers);
  model.bytes = engine.file_bytes;
  model.metadata = engine.metadata;
  model.engine = std::make_shared<const engine::Engine>(std::move(engine));
  RTAI_TRY_VOID(fit_tokenizer(model, log));
  return model;
}

Result<Model> load_model(const fs::path& path, Log& log, EngineMemory memory) {
  if (is_engine_file(path)) {
    RTAI_TRY(engine::Engine engine,
             memory == EngineMemory::own ? engine::read(path) : engine::open(path));
    return model_of(std::move(engine), path.string(), log);
  }
  RTAI_TRY(Model model, load_onnx(path, log));
  RTAI_TRY_VOID(fit_tokenizer(model, log));
  return model;
}

Result<std::shared_ptr<const engine::Engine>> make_engine(const Model& model) {
  if (model.engine) return model.engine;
  RTAI_TRY(engine::Engine made, lower(*model.graph));
  return std::make_shared<const engine::Engine>(std::move(made));
}

Result<void> save_model(const Model& model, const fs::path& path) {
  RTAI_TRY_VOID(check_output_path(path));
  if (path.extension() == ".onnx") {
    RTAI_TRY(const std::vector<std::byte> onnx, onnx_bytes(model));
    const std::span<const std::byte> part(onnx);
    return write_file_atomically(path, std::span(&part, 1));
  }
  if (path.extension() != ".rtai") return save_folder(model, without_trailing_slash(path));
  RTAI_TRY(engine::Engine made, lower(*model.graph));
  std::vector<std::byte> tokenizer;
  if (model.tokenizer) tokenizer = model.tokenizer->serialize();
  made.tokenizer = tokenizer;
  made.labels = model.labels;
  made.metadata = model.metadata;
  made.metadata["task"] = task_name(model.task);
  made.metadata["rtai_version"] = version();
  return engine::save(made, path);
}

Result<void> check_output_path(const fs::path& path) {
  const fs::path target = without_trailing_slash(path);
  const std::string ending = target.extension().string();
  // Names of folders have dots, too, but these endings are meant for a file.
  static constexpr std::array<std::string_view, 10> kOtherFiles = {
      ".gz", ".xz", ".zst", ".zip", ".tar", ".bin", ".pt", ".safetensors", ".engine", ".plan"};
  const bool is_file_ending = ending == ".onnx" || ending == ".rtai";
  std::error_code ignored;
  const bool is_folder = fs::is_directory(target, ignored);
  if (is_file_ending && is_folder)
    return Error{ErrorCode::invalid_input, fmt::format("{}: is a folder", path.string())};
  const bool is_other_file =
      fs::exists(target, ignored) || std::ranges::find(kOtherFiles, ending) != kOtherFiles.end();
  if (!is_file_ending && !is_folder && is_other_file) {
    return Error{
        ErrorCode::invalid_input,
        fmt::format("{}: expected a name that ends in .onnx or .rtai, or a folder", path.string())};
  }
  const fs::path parent = target.has_parent_path() ? target.parent_path() : fs::path(".");
  if (!fs::is_directory(parent, ignored)) {
    std::error_code status;
    fs::create_directories(parent, status);
    if (status)
      return Error{ErrorCode::io, fmt::format("{}: {}", parent.string(), status.message())};
  }
  if (::access(parent.c_str(), W_OK) == 0) return {};
  return Error{ErrorCode::io, fmt::format("{}: this folder cannot be written to", parent.string())};
}

}  // namespace rtai::tools
