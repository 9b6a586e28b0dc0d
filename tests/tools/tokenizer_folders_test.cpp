// Folders without a tokenizer.json with what Transformers' own tokenizers make of texts.
#include "tests/support/recorded_encodings.h"
#include "tests/support/temp_folder.h"
#include "tools/base64.h"
#include "tools/tokenizer_files.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <vector>

namespace rtai::tools {
namespace {

using nlohmann::json;

std::vector<json> folders() {
  std::ifstream file(std::filesystem::path(RTAI_SOURCE_DIR) / "tests/data/tokenizer_folders.jsonl");
  REQUIRE(file);
  std::vector<json> lines;
  for (std::string line; std::getline(file, line);)
    lines.push_back(json::parse(line));
  return lines;
}

/// {"base64": ...}, a JSON document, or a text.
std::string content_of(const json& file) {
  if (file.is_string()) return file.get<std::string>();
  if (!file.contains("base64")) return file.dump();
  const auto bytes = decode_base64(file["base64"].get<std::string>());
  REQUIRE(bytes);
  return *bytes;
}

void write(const json& files, const std::filesystem::path& folder) {
  for (const auto& [name, file] : files.items())
    std::ofstream(folder / name, std::ios::binary) << content_of(file);
}

text::Tokenizer load(const std::filesystem::path& folder) {
  auto loaded = load_tokenizer(folder);
  if (!loaded) FAIL(loaded.error().message());
  REQUIRE(*loaded);
  text::Tokenizer tokenizer = **std::move(loaded);
  REQUIRE(tokenizer.set_max_length(40));
  return tokenizer;
}

TEST_CASE("a folder without a tokenizer.json gives the ids of Transformers' tokenizer of it") {
  const std::vector<json> all = folders();
  REQUIRE(all.size() > 12);
  for (const json& folder : all) {
    testing::TempFolder temporary;
    write(folder["files"], temporary.path());
    const text::Tokenizer tokenizer = load(temporary.path());
    testing::check_against(folder, folder["folder"], tokenizer);

    testing::TempFolder saved;
    REQUIRE(save_tokenizer(tokenizer, saved.path()));
    testing::check_against(folder, folder["folder"], load(saved.path()));
  }
}

/// The folder of that name.
json folder_named(const std::string& name) {
  for (const json& folder : folders()) {
    if (folder["folder"] == name) return folder;
  }
  FAIL("no folder " << name);
  return {};
}

/// The error of the folder's tokenizer with other files.
Error refusal(const std::string& name, const json& changes) {
  testing::TempFolder temporary;
  json files = folder_named(name)["files"];
  files.update(changes);
  write(files, temporary.path());
  const auto loaded = load_tokenizer(temporary.path());
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().message().find('\n') == std::string::npos);
  return loaded.error();
}

TEST_CASE("folders whose files do not fit each other are refused with their place") {
  struct Case {
    const char* folder;
    json changes;
    ErrorCode code;
    const char* message;
  };
  const Case cases[] = {
      {"roberta",
       {{"merges.txt", "a\n"}},
       ErrorCode::invalid_input,
       "merges.txt: line 1: expected"},
      {"roberta", {{"merges.txt", "a b c\n"}}, ErrorCode::invalid_input, "merges.txt: line 1"},
      {"roberta",
       {{"merges.txt", "#version\nzzzz b\n"}},
       ErrorCode::invalid_input,
       "line 2: 'zzzz'"},
      {"roberta", {{"vocab.json", "[]"}}, ErrorCode::invalid_input, "vocab.json: expected"},
      {"roberta",
       {{"vocab.json", R"({"a": -1})"}},
       ErrorCode::invalid_input,
       "expected an integer"},
      {"roberta", {{"vocab.json", R"({"a": 0})"}}, ErrorCode::invalid_input, "merges.txt"},
      {"roberta", {{"config.json", "{}"}}, ErrorCode::invalid_input, "tokenizer_class"},
      {"roberta",
       {{"config.json", R"({"tokenizer_class": "CLIPTokenizer"})"}},
       ErrorCode::unsupported,
       "CLIPTokenizer"},
      {"gpt2",
       {{"tokenizer_config.json", R"({"add_eos_token": true})"}},
       ErrorCode::unsupported,
       "add_eos_token"},
      {"albert",
       {{"spiece.model", ""}},
       ErrorCode::invalid_input,
       "spiece.model: not a sentencepiece"},
      {"albert", {{"spiece.model", "<html>"}}, ErrorCode::invalid_input, "not a sentencepiece"},
      {"albert",
       {{"tokenizer_config.json", R"({"tokenizer_class": "T5Tokenizer"})"}},
       ErrorCode::unsupported,
       "T5Tokenizer"},
      {"xlm-roberta",
       {{"tokenizer_config.json", R"({"mask_token": 5})"}},
       ErrorCode::invalid_input,
       "mask_token"},
      {"xlm-roberta",
       {{"tokenizer_config.json", R"({"added_tokens_decoder": {"x": {"content": "y"}}})"}},
       ErrorCode::invalid_input,
       "'x' is not an id"}};
  for (const Case& one : cases) {
    CAPTURE(one.folder, one.changes.dump());
    const Error error = refusal(one.folder, one.changes);
    CHECK(error.code() == one.code);
    INFO(error.message());
    CHECK(error.message().find(one.message) != std::string::npos);
  }
}

TEST_CASE("a vocab.json without its merges.txt is refused") {
  testing::TempFolder temporary;
  json files = folder_named("roberta")["files"];
  files.erase("merges.txt");
  write(files, temporary.path());
  const auto loaded = load_tokenizer(temporary.path());
  REQUIRE_FALSE(loaded);
  CHECK(loaded.error().code() == ErrorCode::not_found);
}

TEST_CASE("any byte of a sentencepiece model may be changed without harm") {
  const json folder = folder_named("albert");
  const std::string bytes = content_of(folder["files"]["spiece.model"]);
  testing::TempFolder temporary;
  write(folder["files"], temporary.path());
  for (std::size_t i = 0; i < bytes.size(); i += bytes.size() / 300 + 1) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ 0xff);
    std::ofstream(temporary.path() / "spiece.model", std::ios::binary) << changed;
    const auto loaded = load_tokenizer(temporary.path());
    if (!loaded) continue;
    for (const json& one : folder["texts"]) {
      for (const std::int32_t id : (*loaded)->encode(std::string(one["text"])).ids)
        REQUIRE(id < (*loaded)->id_limit());
    }
  }
}

}  // namespace
}  // namespace rtai::tools
