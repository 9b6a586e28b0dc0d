#include "runtime/text/tokenizer.h"

#include <catch2/catch.hpp>

#include <algorithm>

namespace rtai::text {
namespace {

std::vector<std::string> small_vocabulary() {
  std::vector<std::string> result = {"[PAD]",  "[UNK]", "[CLS]", "[SEP]",
                                     "[MASK]", "the",   "",      "##a"};
  result.emplace_back(254, 'x');
  result.emplace_back(255, 'y');
  result.emplace_back(1000, 'z');
  result.emplace_back("after");
  return result;
}

Tokenizer made_of_it() {
  WordPieceSettings settings;
  settings.added_tokens = {{.content = "[MASK]", .id = 4, .special = true, .lstrip = true},
                           {.content = "New", .id = 40, .single_word = true, .normalized = true}};
  settings.handle_chinese_chars = false;
  settings.max_chars_per_word = 2000;
  settings.max_length = 77;
  auto tokenizer = Tokenizer::create(small_vocabulary(), std::move(settings));
  REQUIRE(tokenizer);
  return *std::move(tokenizer);
}

// Uses whatever came out, so that sanitizers can look on.
void use(const Tokenizer& tokenizer) {
  const Encoding encoding =
      tokenizer.encode("The new [MASK]\u00e9 theaa \u5317 " + std::string(300, 'y'));
  REQUIRE(encoding.ids.size() >= 2);
  for (const std::int32_t id : encoding.ids) {
    REQUIRE(id >= 0);
    REQUIRE(id < tokenizer.id_limit());
  }
  REQUIRE(tokenizer.encode_pair("the", "new").ids.size() >= 3);
}

TEST_CASE("a tokenizer survives being written and read") {
  const Tokenizer before = made_of_it();
  const std::vector<std::byte> bytes = before.serialize();
  const auto after = Tokenizer::deserialize(bytes);
  REQUIRE(after);
  CHECK(after->settings() == before.settings());
  REQUIRE(after->vocabulary().size() == before.vocabulary().size());
  for (std::size_t id = 0; id < before.vocabulary().size(); ++id) {
    CHECK(after->vocabulary().piece(id) == before.vocabulary().piece(id));
  }
  CHECK(after->id_limit() == 41);
  CHECK(after->serialize() == bytes);
  const std::string text = "the New newer [MASK] thea " + std::string(1000, 'z');
  CHECK(after->encode(text).ids == before.encode(text).ids);
}

TEST_CASE("a written tokenizer is about as large as its pieces") {
  std::vector<std::string> many = small_vocabulary();
  for (int i = 0; i < 10'000; ++i)
    many.push_back("piece" + std::to_string(i));
  const auto tokenizer = Tokenizer::create(many, WordPieceSettings{});
  REQUIRE(tokenizer);
  const std::size_t lines = tokenizer->vocabulary().text().size() + many.size();
  CHECK(tokenizer->serialize().size() < lines + 300);
}

TEST_CASE("a tokenizer that ends anywhere too early is corrupt") {
  const std::vector<std::byte> bytes = made_of_it().serialize();
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto result = Tokenizer::deserialize(std::span(bytes).first(size));
    REQUIRE_FALSE(result);
    REQUIRE(result.error().code() == ErrorCode::corrupt);
  }
}

TEST_CASE("bytes after a tokenizer are corrupt") {
  std::vector<std::byte> bytes = made_of_it().serialize();
  bytes.push_back(std::byte{'x'});
  const auto result = Tokenizer::deserialize(bytes);
  REQUIRE_FALSE(result);
  CHECK(result.error().message() == "bytes are left after the pieces");
}

TEST_CASE("every changed byte gives an error or a tokenizer that works") {
  const std::vector<std::byte> bytes = made_of_it().serialize();
  std::size_t refused = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (const unsigned change : {0x01u, 0x10u, 0x80u, 0xffu}) {
      std::vector<std::byte> changed = bytes;
      changed[i] ^= static_cast<std::byte>(change);
      const auto result = Tokenizer::deserialize(changed);
      if (result) {
        use(*result);
      } else {
        REQUIRE(result.error().code() == ErrorCode::corrupt);
        ++refused;
      }
    }
  }
  CHECK(refused > 300);
}

TEST_CASE("a count that the file cannot hold is refused before anything is allocated") {
  // The counts and lengths of the format, set to the largest number in turn.
  const std::vector<std::byte> bytes = made_of_it().serialize();
  for (std::size_t i = 8; i + 4 <= bytes.size(); ++i) {
    std::vector<std::byte> changed = bytes;
    std::fill_n(changed.begin() + static_cast<std::ptrdiff_t>(i), 4, std::byte{0xff});
    const auto result = Tokenizer::deserialize(changed);
    if (result) use(*result);
  }
}

TEST_CASE("what is no tokenizer, or one of another version, says what it is") {
  std::vector<std::byte> bytes = made_of_it().serialize();
  bytes[4] = std::byte{9};
  CHECK(Tokenizer::deserialize(bytes).error().message() == "expected version 1 to 2, found 9");
  bytes[0] = std::byte{0};
  CHECK(Tokenizer::deserialize(bytes).error().message() ==
        "not a tokenizer: it begins differently");
}

}  // namespace
}  // namespace rtai::text
