#include "runtime/text/vocabulary.h"

#include <catch2/catch.hpp>

#include <numeric>

namespace rtai::text {
namespace {

Result<Vocabulary> vocabulary_of(const std::vector<std::string>& pieces,
                                 std::string_view continuation = "##") {
  std::string text;
  std::vector<std::uint32_t> ends;
  for (const std::string& piece : pieces) {
    text += piece;
    ends.push_back(static_cast<std::uint32_t>(text.size()));
  }
  return Vocabulary::create(text, ends, continuation);
}

Vocabulary::Hash hash_of(Vocabulary::Hash seed, std::string_view text) {
  for (const char byte : text)
    seed = Vocabulary::extend(seed, byte);
  return seed;
}

TEST_CASE("a vocabulary finds its pieces and nothing else") {
  std::vector<std::string> pieces;
  for (int i = 0; i < 5000; ++i)
    pieces.push_back((i % 3 == 0 ? "##" : "") + std::to_string(i * i));
  const auto vocabulary = vocabulary_of(pieces);
  REQUIRE(vocabulary);
  REQUIRE(vocabulary->size() == pieces.size());
  for (std::size_t id = 0; id < pieces.size(); ++id) {
    REQUIRE(vocabulary->piece(id) == pieces[id]);
    REQUIRE(vocabulary->find(pieces[id]) == static_cast<std::int32_t>(id));
    REQUIRE_FALSE(vocabulary->find(pieces[id] + "x"));
  }
  CHECK_FALSE(vocabulary->find(""));
}

TEST_CASE("a piece that continues a word is found by what follows the continuation") {
  const auto vocabulary = vocabulary_of({"ing", "##ed", "##", "xxed"});
  REQUIRE(vocabulary);
  const Vocabulary::Hash seed = vocabulary->continuation_seed();
  CHECK(vocabulary->find_continuation(hash_of(seed, "ed"), "ed") == 1);
  CHECK(vocabulary->find_continuation(hash_of(seed, "ing"), "ing") == Vocabulary::kNone);
  CHECK(vocabulary->find_word(hash_of(Vocabulary::kWordSeed, "ing"), "ing") == 0);
  CHECK(vocabulary->longest_word() == 4);
  CHECK(vocabulary->longest_continuation() == 2);
}

TEST_CASE("an empty piece leaves its id unused, and of equal pieces the last counts") {
  const auto vocabulary = vocabulary_of({"a", "", "b", "a"});
  REQUIRE(vocabulary);
  CHECK(vocabulary->size() == 4);
  CHECK(vocabulary->find("a") == 3);
  CHECK(vocabulary->find("b") == 2);
  CHECK(vocabulary->piece(1).empty());
}

TEST_CASE("an empty vocabulary finds nothing") {
  const auto vocabulary = vocabulary_of({});
  REQUIRE(vocabulary);
  CHECK(vocabulary->size() == 0);
  CHECK_FALSE(vocabulary->find("a"));
}

TEST_CASE("pieces that cannot be are refused") {
  CHECK(vocabulary_of({"a", "\xff"}).error().message() == "piece 1 is not UTF-8");
  CHECK(vocabulary_of({"\xc3", "\xa9"}).error().message() == "piece 0 is not UTF-8");
  CHECK(vocabulary_of({std::string(1025, 'x')}).error().message() ==
        "piece 0 has 1025 bytes, more than 1024");
  CHECK(vocabulary_of({std::string(1024, 'x')}));
  CHECK_FALSE(Vocabulary::create("abc", {1, 2}, "##"));
  CHECK_FALSE(Vocabulary::create("abc", {2, 1, 3}, "##"));
  CHECK_FALSE(Vocabulary::create("", std::vector<std::uint32_t>(Vocabulary::kMaxPieces + 1), "##"));
}

TEST_CASE("pieces made to collide are refused instead of searched for ever") {
  // 300 pieces give a table of 1024 slots, chosen by the upper 10 bits of the hash.
  std::vector<std::string> pieces;
  for (int i = 0; pieces.size() < 300; ++i) {
    const std::string piece = std::to_string(i);
    if (hash_of(Vocabulary::kWordSeed, piece) >> 54 == 5) pieces.push_back(piece);
  }
  const auto vocabulary = vocabulary_of(pieces);
  REQUIRE_FALSE(vocabulary);
  CHECK(vocabulary.error().message() == "piece 256 collides with too many others");
}

}  // namespace
}  // namespace rtai::text
