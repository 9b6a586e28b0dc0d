#include "tools/sentencepiece_file.h"

#include <catch2/catch.hpp>

#include <cstring>
#include <string>

namespace rtai::tools {
namespace {

using PieceType = SentencePieceFile::PieceType;

Result<SentencePieceFile> parse(const std::string& bytes) {
  return parse_sentencepiece(std::as_bytes(std::span(bytes)));
}

/// A field of bytes, number < 16, less than 128 bytes.
std::string field(int number, const std::string& bytes) {
  return std::string(1, static_cast<char>(number << 3 | 2)) + static_cast<char>(bytes.size()) +
         bytes;
}
std::string varint(int number, int value) {
  return {static_cast<char>(number << 3), static_cast<char>(value)};
}
std::string piece(const std::string& text, float score, int type) {
  std::string bits(sizeof(score), '\0');
  std::memcpy(bits.data(), &score, sizeof(score));
  return field(1, field(1, text) + "\x15" + bits + varint(3, type));
}

TEST_CASE("pieces, their scores and kinds are read, other fields left aside") {
  const std::string trainer = field(2, varint(3, 2) + "\xc0\x02\x01");  // bpe; unk_id is field 40
  const std::string rules = field(3, field(1, "nmt_nfkc") + field(2, "rules"));
  const auto file = parse(piece("a", -1.5f, 1) + piece("<s>", 0, 3) + field(1, field(1, "b")) +
                          field(15, "future") + trainer + rules);
  REQUIRE(file);
  REQUIRE(file->pieces.size() == 3);
  CHECK(file->pieces[0].text == "a");
  CHECK(file->pieces[0].score == -1.5f);
  CHECK(file->pieces[0].type == PieceType::normal);
  CHECK(file->pieces[1].type == PieceType::control);
  CHECK(file->pieces[2].score == 0);
  CHECK(file->algorithm == SentencePieceFile::Algorithm::bpe);
  CHECK(file->unknown_id == 1);
  CHECK(file->charsmap == "rules");
}

TEST_CASE("a file that ends early or is something else is refused") {
  const std::string good = piece("a", 0, 1) + piece("b", 0, 1);
  REQUIRE(parse(good));
  for (std::size_t size = 0; size < good.size(); ++size) {
    const bool whole = size == good.size() / 2;  // the first piece alone
    CHECK(parse(good.substr(0, size)).has_value() == whole);
  }
  for (const char* other : {"{\"a\": 1}", "#version: 0.2\na b\n",
                            "\x7f"
                            "ELF",
                            "\x0b\x0b"}) {
    const auto file = parse(other);
    REQUIRE_FALSE(file);
    CHECK(file.error().code() == ErrorCode::invalid_input);
  }
  CHECK_FALSE(parse(good + field(2, "\xc0\x02\x05")));  // an unknown piece that is none
  CHECK_FALSE(parse(good + std::string(11, '\xff')));
}

}  // namespace
}  // namespace rtai::tools
