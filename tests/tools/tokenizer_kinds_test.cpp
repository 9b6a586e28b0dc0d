// Tokenizers of every kind with what Hugging Face `tokenizers` makes of texts.
#include "tests/support/recorded_encodings.h"
#include "tests/support/temp_folder.h"
#include "tools/tokenizer_files.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <fstream>
#include <set>
#include <string>
#include <vector>

namespace rtai::tools {
namespace {

using nlohmann::json;

std::vector<json> kinds() {
  std::ifstream file(std::filesystem::path(RTAI_SOURCE_DIR) / "tests/data/tokenizer_kinds.jsonl");
  REQUIRE(file);
  std::vector<json> lines;
  for (std::string line; std::getline(file, line);)
    lines.push_back(json::parse(line));
  return lines;
}

text::Tokenizer load(const json& tokenizer, const std::filesystem::path& folder) {
  std::ofstream(folder / "tokenizer.json") << tokenizer.dump();
  std::ofstream(folder / "tokenizer_config.json") << R"({"model_max_length": 40})";
  auto loaded = load_tokenizer(folder);
  if (!loaded) FAIL(loaded.error().message());
  REQUIRE(*loaded);
  return **std::move(loaded);
}

TEST_CASE("every kind of tokenizer gives the ids, offsets and segments of tokenizers") {
  const std::vector<json> all = kinds();
  REQUIRE(all.size() > 15);
  for (const json& kind : all) {
    testing::TempFolder folder;
    testing::check_against(kind, kind["kind"], load(kind["tokenizer"], folder.path()));
  }
}

TEST_CASE("every kind of tokenizer survives an engine and a folder") {
  for (const json& kind : kinds()) {
    testing::TempFolder folder;
    const text::Tokenizer before = load(kind["tokenizer"], folder.path());
    const std::vector<std::byte> bytes = before.serialize();
    const auto after = text::Tokenizer::deserialize(bytes);
    REQUIRE(after);
    CHECK(after->settings() == before.settings());
    CHECK(after->serialize() == bytes);
    testing::TempFolder saved;
    REQUIRE(save_tokenizer(*after, saved.path()));
    const auto again = load_tokenizer(saved.path());
    if (!again) FAIL(again.error().message());
    REQUIRE(*again);
    testing::check_against(kind, kind["kind"], **again);
  }
}

TEST_CASE("an engine's tokenizer of any kind that was changed is corrupt or works") {
  for (const json& kind : kinds()) {
    testing::TempFolder folder;
    const std::vector<std::byte> bytes = load(kind["tokenizer"], folder.path()).serialize();
    const std::size_t step = bytes.size() / 150 + 1;
    for (std::size_t i = 0; i < bytes.size(); i += step) {
      std::vector<std::byte> changed = bytes;
      changed[i] ^= std::byte{0xff};
      const auto result = text::Tokenizer::deserialize(changed);
      if (!result) {
        REQUIRE(result.error().code() == ErrorCode::corrupt);
        continue;
      }
      for (const json& one : kind["texts"]) {
        for (const std::int32_t id : result->encode(std::string(one["text"])).ids) {
          REQUIRE(id >= 0);
          REQUIRE(id < result->id_limit());
        }
      }
    }
  }
}

}  // namespace
}  // namespace rtai::tools
