// Tokenizers of folders and of engines, and texts for them.
//
// Input: 'j' tokenizer.json, 'v' vocab.txt or 'b' a tokenizer as engines hold it; for the first two
// a zero byte, tokenizer_config.json (may be empty), a zero byte, a text.
#include "tests/fuzz/fuzz.h"
#include "tools/tokenizer_files.h"

namespace rtai::fuzz {
namespace {

constexpr std::string_view kText = "a Bc \xc3\xa9\xe6\x97\xa5 ##b [MASK] <s>\xff 12";

/// Offsets and words lie in the text, ids in the vocabulary.
void check(const text::Encoding& encoding, const text::Tokenizer& tokenizer, std::size_t bytes) {
  const std::size_t tokens = encoding.ids.size();
  expect(encoding.segments.size() == tokens && encoding.offsets.size() == tokens);
  expect(encoding.words.size() == tokens);
  for (std::size_t i = 0; i < tokens; ++i) {
    expect(encoding.ids[i] >= 0 && encoding.ids[i] < tokenizer.id_limit());
    expect(encoding.offsets[i].begin <= encoding.offsets[i].end);
    expect(encoding.offsets[i].end <= bytes);
  }
}

void use(const text::Tokenizer& tokenizer, std::string_view text) {
  const text::Encoding encoding = tokenizer.encode(text);
  check(encoding, tokenizer, text.size());
  (void)tokenizer.encode_pair(text, kText);
  const std::vector<std::string> words = {std::string(text), "a"};
  (void)tokenizer.encode_words(words);
  // What is written is read, and means the same.
  const std::vector<std::byte> bytes = tokenizer.serialize();
  const auto again = text::Tokenizer::deserialize(bytes);
  expect(again.has_value());
  expect(again->encode(text).ids == encoding.ids);
}

void from_folder(std::string_view input, const char* name, const char* other) {
  const Folder& folder = Folder::get();
  const std::vector<std::string_view> parts = split(input, 3);
  folder.put(other, {});
  folder.put(name, parts[0]);
  folder.put("tokenizer_config.json", parts[1]);
  const auto tokenizer = tools::load_tokenizer(folder.path());
  if (!tokenizer) return expect(!tokenizer.error().message().empty());
  if (*tokenizer) use(**tokenizer, parts[2].empty() ? kText : parts[2]);
}

}  // namespace
}  // namespace rtai::fuzz

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rtai;
  if (size == 0) return 0;
  const std::string_view input = fuzz::text_of(data + 1, size - 1);
  if (data[0] == 'j') fuzz::from_folder(input, "tokenizer.json", "vocab.txt");
  if (data[0] == 'v') fuzz::from_folder(input, "vocab.txt", "tokenizer.json");
  if (data[0] != 'b') return 0;
  const auto tokenizer = text::Tokenizer::deserialize(fuzz::bytes_of(data + 1, size - 1));
  if (tokenizer) fuzz::use(*tokenizer, fuzz::kText);
  return 0;
}
