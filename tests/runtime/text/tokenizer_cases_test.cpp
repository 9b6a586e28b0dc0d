// Texts with what Hugging Face `tokenizers` makes of them.
#include "runtime/text/tokenizer.h"
#include "tests/support/shared_files.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include <fstream>

namespace rtai::text {
namespace {

using nlohmann::json;
using Ids = std::vector<std::int32_t>;

std::vector<json> read_lines(const std::filesystem::path& path) {
  std::ifstream file(path);
  REQUIRE(file);
  std::vector<json> lines;
  for (std::string line; std::getline(file, line);)
    lines.push_back(json::parse(line));
  return lines;
}

std::vector<Offset> offsets_of(const json& pairs) {
  std::vector<Offset> offsets;
  for (const json& pair : pairs)
    offsets.push_back({pair[0], pair[1]});
  return offsets;
}

AddedToken added_token_of(const json& token) {
  return {.content = token["content"],
          .id = token["id"],
          .special = token["special"],
          .single_word = token["single_word"],
          .lstrip = token["lstrip"],
          .rstrip = token["rstrip"],
          .normalized = token["normalized"]};
}

TEST_CASE("texts of many scripts are split as by tokenizers, with any normalizer steps") {
  const std::vector<json> lines =
      read_lines(std::filesystem::path(RTAI_SOURCE_DIR) / "tests/data/tokenizer_cases.jsonl");
  const std::vector<std::string> vocabulary = lines.at(0)["vocabulary"];
  WordPieceSettings settings;
  for (const json& token : lines[0]["added_tokens"]) {
    settings.added_tokens.push_back(added_token_of(token));
  }
  int compared = 0;
  for (int steps = 0; steps < 16; ++steps) {
    settings.clean_text = (steps & 1) != 0;
    settings.handle_chinese_chars = (steps & 2) != 0;
    settings.strip_accents = (steps & 4) != 0;
    settings.lowercase = (steps & 8) != 0;
    const auto tokenizer = Tokenizer::create(vocabulary, settings);
    REQUIRE(tokenizer);
    for (std::size_t i = 1; i < lines.size(); ++i) {
      const Encoding encoding = tokenizer->encode(lines[i]["text"].get<std::string>());
      for (const json& result : lines[i]["results"]) {
        const json& those = result["steps"];
        if (std::find(those.begin(), those.end(), steps) == those.end()) continue;
        CAPTURE(steps, lines[i]["text"].dump());
        CHECK(encoding.ids == result["ids"].get<Ids>());
        CHECK(encoding.offsets == offsets_of(result["offsets"]));
        CHECK(encoding.words == result["words"].get<Ids>());
        ++compared;
      }
    }
  }
  CHECK(compared == 16 * static_cast<int>(lines.size() - 1));
}

TEST_CASE("real vocabularies give the ids and offsets of tokenizers") {
  const auto cases = testing::shared_file("data/tokenizer.jsonl");
  if (!cases) {
    WARN("skipped: no data/tokenizer.jsonl in the shared files");
    return;
  }
  const std::vector<json> lines = read_lines(*cases);
  for (const std::string name : {"uncased", "cased", "chinese"}) {
    const auto path = testing::shared_file("data/vocab/" + name + ".txt");
    REQUIRE(path);
    std::ifstream file(*path);
    std::vector<std::string> vocabulary;
    for (std::string line; std::getline(file, line);)
      vocabulary.push_back(line);

    WordPieceSettings settings;
    settings.lowercase = settings.strip_accents = name != "cased";
    for (const char* token : {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}) {
      const auto place = std::find(vocabulary.begin(), vocabulary.end(), token);
      REQUIRE(place != vocabulary.end());
      const auto id = static_cast<std::int32_t>(place - vocabulary.begin());
      settings.added_tokens.push_back({.content = token, .id = id, .special = true});
    }
    auto written = Tokenizer::create(vocabulary, settings);
    REQUIRE(written);
    const auto tokenizer = Tokenizer::deserialize(written->serialize());
    REQUIRE(tokenizer);
    for (const json& line : lines) {
      const Encoding encoding = tokenizer->encode(line["text"].get<std::string>());
      CAPTURE(name, line["text"].dump());
      REQUIRE(encoding.ids == line[name]["ids"].get<Ids>());
      if (!line[name].contains("offsets")) continue;
      REQUIRE(encoding.offsets == offsets_of(line[name]["offsets"]));
    }
  }
}

}  // namespace
}  // namespace rtai::text
