#include "tools/model_files.h"

#include "runtime/base/mapped_file.h"
#include "tools/json_file.h"
#include "tools/own_file.h"
#include "tools/tokenizer_files.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <charconv>

namespace rtai::tools {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kMostLabels = 1'000'000;

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

Error bad_file(const fs::path& path, std::string_view what) {
  return {ErrorCode::invalid_input, fmt::format("{}: {}", path.string(), what)};
}

/// The file `name` of the model in `folder`, which links may not lead out of.
Result<nlohmann::json> read_json(const fs::path& folder, const fs::path& name) {
  RTAI_TRY_VOID(expect_own_file(folder, name));
  RTAI_TRY(const MappedFile file, MappedFile::open(folder / name));
  return parse_json(file.text()).in((folder / name).string());
}

std::string string_of(const nlohmann::json& object, const char* key) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// {"id2label": {"0": "O", ...}} as a list.
Result<std::vector<std::string>> read_labels(const nlohmann::json& config, const fs::path& path) {
  std::vector<std::string> labels;
  const auto found = config.find("id2label");
  if (found == config.end() || found->is_null()) return labels;
  if (!found->is_object()) return bad_file(path, "\"id2label\": expected an object");
  for (const auto& [key, value] : found->items()) {
    std::size_t index = 0;
    const auto [stop, status] = std::from_chars(key.data(), key.data() + key.size(), index);
    if (status != std::errc{} || stop != key.data() + key.size() || index >= kMostLabels ||
        !value.is_string()) {
      return bad_file(
          path, fmt::format("\"id2label\": expected \"number\": \"name\", found \"{}\"", key));
    }
    if (labels.size() <= index) labels.resize(index + 1);
    labels[index] = value.get<std::string>();
  }
  return labels;
}

std::optional<Task> task_of_architecture(const nlohmann::json& config) {
  const auto found = config.find("architectures");
  if (found == config.end() || !found->is_array() || found->empty() ||
      !found->front().is_string()) {
    return std::nullopt;
  }
  const auto name = found->front().get<std::string>();
  if (name.ends_with("ForTokenClassification")) return Task::token_classification;
  if (name.ends_with("ForSequenceClassification")) return Task::sequence_classification;
  if (name.ends_with("ForQuestionAnswering")) return Task::question_answering;
  return std::nullopt;
}

Result<void> read_config(const fs::path& folder, ModelFiles& files) {
  const fs::path path = folder / "config.json";
  RTAI_TRY(const nlohmann::json config, read_json(folder, "config.json"));
  if (!config.is_object()) return bad_file(path, "expected an object");
  RTAI_TRY(files.labels, read_labels(config, path));
  files.task = task_of_architecture(config);
  files.multi_label = string_of(config, "problem_type") == "multi_label_classification";
  files.model_type = string_of(config, "model_type");
  RTAI_TRY(const MappedFile text, MappedFile::open(path));
  files.config_text = std::string(text.text());
  return {};
}

/// modules.json lists the stages of a sentence-transformers model and their folders.
Result<std::optional<Pooling>> read_pooling(const fs::path& folder) {
  const fs::path modules_path = folder / "modules.json";
  if (!is_file(modules_path)) return std::optional<Pooling>{};
  RTAI_TRY(const nlohmann::json modules, read_json(folder, "modules.json"));
  if (!modules.is_array()) return bad_file(modules_path, "expected a list");
  std::optional<Pooling> pooling;
  for (const nlohmann::json& module : modules) {
    const std::string type = string_of(module, "type");
    if (type.ends_with("Normalize") && pooling) pooling->normalize = true;
    if (!type.ends_with("Pooling")) continue;
    const std::string name = string_of(module, "path");
    // A plain name: a model reads its own folder only.
    if (name.empty() || name.find('/') != std::string::npos || name == "..") {
      return bad_file(modules_path,
                      fmt::format("\"path\": expected the name of a folder, found '{}'", name));
    }
    const fs::path config_path = folder / name / "config.json";
    RTAI_TRY(const nlohmann::json config, read_json(folder, fs::path(name) / "config.json"));
    const auto flag = [&](const char* key) {
      const auto found = config.is_object() ? config.find(key) : config.end();
      return found != config.end() && found->is_boolean() && found->get<bool>();
    };
    pooling.emplace();
    pooling->mean = flag("pooling_mode_mean_tokens");
    if (pooling->mean || flag("pooling_mode_cls_token")) continue;
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: pooling other than mean or cls", config_path.string())};
  }
  return pooling;
}

Result<fs::path> find_onnx(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) {
    return Error{ErrorCode::not_found, fmt::format("{}: no such file or folder", path.string())};
  }
  if (!fs::is_directory(path, ignored)) {
    // What stands beside a model, and what other frameworks keep weights in.
    constexpr std::array kOtherFiles = {".bin", ".h5",          ".json", ".pt",
                                        ".pth", ".safetensors", ".txt"};
    if (std::ranges::find(kOtherFiles, path.extension()) != kOtherFiles.end()) {
      return Error{ErrorCode::unsupported,
                   fmt::format("{}: expected an ONNX file, a folder with model.onnx, or an engine "
                               "(docs/export.md says how to make one)",
                               path.string())};
    }
    return path;
  }
  for (const char* name : kGraphFiles) {
    if (is_file(path / name)) return path / name;
  }
  return Error{
      ErrorCode::not_found,
      fmt::format("{}: no model.onnx and no onnx/model.onnx in this folder", path.string())};
}

}  // namespace

Result<ModelFiles> find_model_files(const fs::path& path, Log& log) {
  ModelFiles files;
  RTAI_TRY(files.onnx, find_onnx(path));
  std::error_code ignored;
  fs::path folder = fs::is_directory(path, ignored) ? path : files.onnx.parent_path();
  if (folder.empty()) folder = ".";
  if (is_file(folder / "config.json")) RTAI_TRY_VOID(read_config(folder, files));
  RTAI_TRY(files.pooling, read_pooling(folder));
  Result<std::optional<text::Tokenizer>> tokenizer = load_tokenizer(folder);
  if (tokenizer)
    files.tokenizer = *std::move(tokenizer);
  else if (tokenizer.error().code() != ErrorCode::unsupported)
    return std::move(tokenizer).error();
  else
    log.warning(tokenizer.error().message() + "; this model runs on token ids only");
  return files;
}

}  // namespace rtai::tools
