// Texts to what their tokenizer makes of them, for tokenizers_test.py.
//
// usage: tokenize FOLDER                 a JSON string a line in, {"ids", "offsets", "segments"}
// out
//        tokenize FOLDER --pairs         a JSON array of two texts a line
//        tokenize FOLDER --words         a JSON array of words a line
//        tokenize FOLDER --time          all lines as texts; the seconds for them, once for each
//        line "go" tokenize FOLDER --save OUT      writes the tokenizer's files, after a way
//        through an engine's bytes
#include "tools/tokenizer_files.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

namespace rtai {
namespace {

using nlohmann::json;

int fail(const Error& error) {
  std::cerr << error.message() << "\n";
  return 3;
}

json as_json(const text::Encoding& encoding) {
  json offsets = json::array();
  for (const text::Offset offset : encoding.offsets)
    offsets.push_back({offset.begin, offset.end});
  return {{"ids", encoding.ids}, {"offsets", offsets}, {"segments", encoding.segments}};
}

text::Encoding encode(const text::Tokenizer& tokenizer, const json& line, const std::string& mode) {
  if (mode == "--pairs") return tokenizer.encode_pair(std::string(line[0]), std::string(line[1]));
  if (mode == "--words") return tokenizer.encode_words(std::vector<std::string>(line));
  return tokenizer.encode(std::string(line));
}

// Texts, then a line "go" for each time they are to be encoded.
void time_texts(const text::Tokenizer& tokenizer) {
  std::vector<std::string> texts;
  for (std::string line; std::getline(std::cin, line);) {
    if (line != "go") {
      texts.push_back(json::parse(line));
      continue;
    }
    const auto begin = std::chrono::steady_clock::now();
    std::size_t tokens = 0;
    for (const std::string& text : texts)
      tokens += tokenizer.encode(text).ids.size();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    std::cout << json{{"seconds", seconds.count()}, {"tokens", tokens}}.dump() << std::endl;
  }
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.empty()) return 2;
  const std::string mode = arguments.size() > 1 ? arguments[1] : "";
  auto loaded = tools::load_tokenizer(arguments[0]);
  if (!loaded) return fail(loaded.error());
  if (!*loaded) return fail({ErrorCode::not_found, "no tokenizer in this folder"});
  auto tokenizer = text::Tokenizer::deserialize((*loaded)->serialize());
  if (!tokenizer) return fail(tokenizer.error());
  if (mode == "--save") {
    const auto saved = tools::save_tokenizer(*tokenizer, arguments.at(2));
    return saved ? 0 : fail(saved.error());
  }
  if (mode == "--time") {
    time_texts(*tokenizer);
    return 0;
  }
  for (std::string line; std::getline(std::cin, line);)
    std::cout << as_json(encode(*tokenizer, json::parse(line), mode)).dump() << "\n";
  return 0;
}

}  // namespace
}  // namespace rtai

int main(int count, char** arguments) {
  std::ios::sync_with_stdio(false);
  return rtai::run({arguments + 1, arguments + count});
}
