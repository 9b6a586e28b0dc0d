#include "runtime/text/tokenizer.h"

#include <catch2/catch.hpp>

#include <chrono>
#include <thread>

namespace rtai::text {
namespace {

using Ids = std::vector<std::int32_t>;
using Offsets = std::vector<Offset>;

const std::vector<std::string>& pieces() {
  static const std::vector<std::string> kPieces = {
      "[PAD]",  "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the",  "un",           "##aff",
      "##able", "cafe",  // 0
      "a",      "##a",   "b",     "##b",   "!",      "Cafe", "\xe5\x8c\x97", "\xe4\xba\xac",
      "i",      "new"};
  return kPieces;
}

AddedToken special(std::string content, std::int32_t id) {
  return {.content = std::move(content), .id = id, .special = true};
}

WordPieceSettings bert_settings() {
  WordPieceSettings settings;
  settings.added_tokens = {special("[CLS]", 2), special("[SEP]", 3), special("[MASK]", 4)};
  return settings;
}

Tokenizer make(WordPieceSettings settings = bert_settings()) {
  auto tokenizer = Tokenizer::create(pieces(), std::move(settings));
  REQUIRE(tokenizer);
  return *std::move(tokenizer);
}

std::string refusal(std::span<const std::string> vocabulary, WordPieceSettings settings) {
  const auto tokenizer = Tokenizer::create(vocabulary, std::move(settings));
  REQUIRE_FALSE(tokenizer);
  CHECK(tokenizer.error().code() == ErrorCode::invalid_input);
  return tokenizer.error().message();
}

TEST_CASE("a text is framed by the special tokens, and its words are split greedily") {
  const Encoding encoding = make().encode("the unaffable!");
  CHECK(encoding.ids == Ids{2, 5, 6, 7, 8, 14, 3});
  CHECK(encoding.segments == Ids(7, 0));
  CHECK(encoding.offsets == Offsets{{0, 0}, {0, 3}, {4, 6}, {6, 9}, {9, 13}, {13, 14}, {0, 0}});
  CHECK(encoding.words == Ids{-1, 0, 1, 1, 1, 2, -1});
  CHECK_FALSE(encoding.truncated);
}

TEST_CASE("a word with one unknown part is unknown as a whole") {
  const Encoding encoding = make().encode("unaffab the");
  CHECK(encoding.ids == Ids{2, 6, 7, 11, 13, 5, 3});
  CHECK(make().encode("unaffx the").ids == Ids{2, 1, 5, 3});
  CHECK(make().encode("unaffx the").offsets[1] == Offset{0, 6});
}

TEST_CASE("a word is unknown from one character above the limit on, counted after normalization") {
  WordPieceSettings settings = bert_settings();
  settings.max_chars_per_word = 3;
  const Tokenizer tokenizer = make(settings);
  CHECK(tokenizer.encode("aaa aaaa b").ids == Ids{2, 10, 11, 11, 1, 12, 3});
  CHECK(tokenizer.encode("aaa aaaa b").offsets[4] == Offset{4, 8});
  // Five code points, but three after the accents are gone.
  CHECK(tokenizer.encode("a\u0301a\u0301a").ids == Ids{2, 10, 11, 11, 3});
}

TEST_CASE("upper case and accents go when they are to go, and offsets point into the text") {
  const Encoding encoding = make().encode("CAF\u00c9 cafe\u0301");
  CHECK(encoding.ids == Ids{2, 9, 9, 3});
  CHECK(encoding.offsets == Offsets{{0, 0}, {0, 4}, {5, 9}, {0, 0}});

  WordPieceSettings cased = bert_settings();
  cased.lowercase = cased.strip_accents = false;
  CHECK(make(cased).encode("Cafe cafe CAFE").ids == Ids{2, 15, 9, 1, 3});
}

TEST_CASE("a lower case of two characters belongs to one code point") {
  WordPieceSettings settings = bert_settings();
  settings.strip_accents = false;
  CHECK(make(settings).encode("\u0130").ids == Ids{2, 1, 3});
  settings.strip_accents = true;
  const Encoding encoding = make(settings).encode("\u0130 i");
  CHECK(encoding.ids == Ids{2, 18, 18, 3});
  CHECK(encoding.offsets[1] == Offset{0, 1});
}

TEST_CASE("Chinese characters are words of their own unless the setting is off") {
  const char* text = "a\u5317\u4eacb";
  CHECK(make().encode(text).ids == Ids{2, 10, 16, 17, 12, 3});
  CHECK(make().encode(text).words == Ids{-1, 0, 1, 2, 3, -1});
  WordPieceSettings settings = bert_settings();
  settings.handle_chinese_chars = false;
  CHECK(make(settings).encode(text).ids == Ids{2, 1, 3});
}

TEST_CASE("controls vanish and every kind of whitespace separates") {
  CHECK(make().encode(std::string("t\0h\u200be", 7)).ids == Ids{2, 5, 3});
  CHECK(make().encode("a\tb\u00a0a\u3000b\r\n\u2028").ids == Ids{2, 10, 12, 10, 12, 3});
  WordPieceSettings settings = bert_settings();
  settings.clean_text = false;
  CHECK(make(settings).encode("t\x01he a\u00a0b").ids == Ids{2, 1, 10, 12, 3});
}

TEST_CASE("bytes that are not UTF-8 count as one code point each run and vanish") {
  const Encoding encoding = make().encode(
      "\xff"
      "a\xe2\x82"
      "a \xf0\x9f b");
  CHECK(encoding.ids == Ids{2, 10, 11, 12, 3});
  CHECK(encoding.offsets == Offsets{{0, 0}, {1, 2}, {3, 4}, {7, 8}, {0, 0}});
}

TEST_CASE("an empty text is the special tokens") {
  for (const char* text : {"", " ", "\t\n", "\u200b"})
    CHECK(make().encode(text).ids == Ids{2, 3});
  CHECK(make().encode_pair("", "").ids == Ids{2, 3, 3});
  CHECK(make().encode_words({}).ids == Ids{2, 3});
}

TEST_CASE("added tokens are cut out of the text before anything else") {
  const Encoding encoding = make().encode("the[MASK]a [mask]");
  CHECK(encoding.ids == Ids{2, 5, 4, 10, 1, 1, 1, 3});
  CHECK(encoding.offsets[2] == Offset{3, 9});
  CHECK(encoding.words == Ids{-1, 0, 1, 2, 3, 4, 5, -1});
}

TEST_CASE("an added token takes whitespace along where it says so") {
  WordPieceSettings settings = bert_settings();
  settings.added_tokens[2].lstrip = true;
  CHECK(make(settings).encode("a \t [MASK] b").offsets[2] == Offset{1, 10});
  settings.added_tokens[2].rstrip = true;
  CHECK(make(settings).encode("a [MASK]  b").offsets[2] == Offset{1, 10});
  // What the first has taken, the second cannot take.
  const Encoding twice = make(settings).encode("[MASK]  [MASK]");
  CHECK(twice.offsets == Offsets{{0, 0}, {0, 8}, {8, 14}, {0, 0}});
}

TEST_CASE("a single-word added token does not touch words") {
  WordPieceSettings settings = bert_settings();
  settings.added_tokens.push_back({.content = "b", .id = 12, .single_word = true});
  settings.added_tokens.push_back({.content = "new", .id = 19, .single_word = true});
  const Tokenizer tokenizer = make(settings);
  CHECK(tokenizer.encode("new,newb \u00e9new").ids == Ids{2, 19, 1, 19, 13, 1, 3});
  CHECK(tokenizer.encode("ab b").ids == Ids{2, 10, 13, 12, 3});
}

TEST_CASE("the longest of several added tokens counts") {
  WordPieceSettings settings = bert_settings();
  settings.added_tokens.push_back({.content = "xy", .id = 20});
  settings.added_tokens.push_back({.content = "xyzz", .id = 21});
  CHECK(make(settings).encode("xyzxyzzxy").ids == Ids{2, 20, 1, 21, 20, 3});
  CHECK(make(settings).id_limit() == 22);
}

TEST_CASE("a normalized added token is found in the normalized text") {
  WordPieceSettings settings = bert_settings();
  settings.added_tokens.push_back({.content = "New Caf\u00e9", .id = 20, .normalized = true});
  const Encoding encoding = make(settings).encode("a NEW cafe\u0301! b");
  CHECK(encoding.ids == Ids{2, 10, 20, 14, 12, 3});
  CHECK(encoding.offsets[2] == Offset{2, 10});
  settings.added_tokens.back().normalized = false;
  CHECK(make(settings).encode("a NEW cafe!").ids == Ids{2, 10, 19, 9, 14, 3});
}

TEST_CASE("words given one by one keep their numbers and have offsets of their own") {
  const std::vector<std::string> words = {"unaffable!", "", "the", "a b"};
  const Encoding encoding = make().encode_words(words);
  CHECK(encoding.ids == Ids{2, 6, 7, 8, 14, 5, 10, 12, 3});
  CHECK(encoding.words == Ids{-1, 0, 0, 0, 0, 2, 3, 3, -1});
  CHECK(encoding.offsets[5] == Offset{0, 3});
  CHECK(encoding.offsets[7] == Offset{2, 3});
}

TEST_CASE("a pair has two segments") {
  const Encoding encoding = make().encode_pair("the a", "b");
  CHECK(encoding.ids == Ids{2, 5, 10, 3, 12, 3});
  CHECK(encoding.segments == Ids{0, 0, 0, 0, 1, 1});
  CHECK(encoding.words == Ids{-1, 0, 1, -1, 0, -1});
  CHECK(encoding.offsets[4] == Offset{0, 1});
}

TEST_CASE("a text is cut to the length limit, and says so") {
  WordPieceSettings settings = bert_settings();
  settings.max_length = 5;
  const Tokenizer tokenizer = make(settings);
  CHECK(tokenizer.encode("a b a").ids == Ids{2, 10, 12, 10, 3});
  CHECK_FALSE(tokenizer.encode("a b a").truncated);
  const Encoding cut = tokenizer.encode("a unaffable");
  CHECK(cut.ids == Ids{2, 10, 6, 7, 3});
  CHECK(cut.segments.size() == 5);
  CHECK(cut.truncated);
  CHECK(tokenizer.encode("a b [MASK] [MASK]").truncated);
  const std::vector<std::string> words = {"a", "unaffable", "b"};
  CHECK(tokenizer.encode_words(words).ids == cut.ids);
  CHECK(tokenizer.encode_words(words).truncated);
}

TEST_CASE("a word beyond the limit that turns out unknown takes back only its own tokens") {
  WordPieceSettings settings = bert_settings();
  settings.max_length = 5;
  CHECK(make(settings).encode("a unaffx").ids == Ids{2, 10, 1, 3});
  CHECK(make(settings).encode("a b unaffx").ids == Ids{2, 10, 12, 1, 3});
  CHECK(make(settings).encode("a b a unaffx").ids == Ids{2, 10, 12, 10, 3});
}

TEST_CASE("of a pair the longer text gives way first, then both") {
  WordPieceSettings settings = bert_settings();
  settings.max_length = 8;  // five of them for the texts
  const Tokenizer tokenizer = make(settings);
  const auto lengths = [&](int first, int second) {
    std::string a, b;
    for (int i = 0; i < first; ++i)
      a += "a ";
    for (int i = 0; i < second; ++i)
      b += "b ";
    const Encoding encoding = tokenizer.encode_pair(a, b);
    CHECK(encoding.truncated == (first + second > 5));
    CHECK(encoding.segments.size() == encoding.ids.size());
    CHECK(encoding.words.size() == encoding.ids.size());
    return std::pair(std::count(encoding.ids.begin(), encoding.ids.end(), 10),
                     std::count(encoding.ids.begin(), encoding.ids.end(), 12));
  };
  using P = std::pair<std::ptrdiff_t, std::ptrdiff_t>;
  CHECK(lengths(2, 3) == P{2, 3});
  CHECK(lengths(1, 9) == P{1, 4});
  CHECK(lengths(9, 2) == P{3, 2});
  CHECK(lengths(0, 9) == P{0, 5});
  CHECK(lengths(9, 9) == P{2, 3});
  CHECK(lengths(100, 90) == P{3, 2});  // the longer one keeps the odd token, however long both are
  CHECK(lengths(90, 100) == P{2, 3});
}

TEST_CASE("without a limit nothing is cut") {
  WordPieceSettings settings = bert_settings();
  settings.max_length = 0;
  std::string text;
  for (int i = 0; i < 5000; ++i)
    text += "unaffable ";
  CHECK(make(settings).encode(text).ids.size() == 15'002);
  CHECK(make(settings).encode_pair(text, text).ids.size() == 30'003);
}

TEST_CASE("the limit can be lowered to what a model has positions for") {
  Tokenizer tokenizer = make();
  REQUIRE(tokenizer.set_max_length(4));
  CHECK(tokenizer.encode("a a a").ids.size() == 4);
  const auto refused = tokenizer.set_max_length(2);
  REQUIRE_FALSE(refused);
  CHECK(refused.error().message() ==
        "expected a length limit of 0 (none) or at least 3 tokens, found 2");
  CHECK(tokenizer.settings().max_length == 4);
}

TEST_CASE("megabytes of any kind take linear time") {
  WordPieceSettings settings = bert_settings();
  settings.max_length = 0;
  settings.added_tokens.push_back({.content = " ", .id = 20, .lstrip = true, .rstrip = true});
  const Tokenizer tokenizer = make(settings);
  std::string marks, chinese;
  for (int i = 0; i < 1'000'000; ++i) {
    marks += "\u0323";
    chinese += "\u5317";
  }
  const auto start = std::chrono::steady_clock::now();
  // A second for each would be quadratic already.
  CHECK(tokenizer.encode(std::string(4'000'000, 'a')).ids == Ids{2, 1, 3});
  CHECK(tokenizer.encode(std::string(1'000'000, '!')).ids.size() == 1'000'002);
  CHECK(tokenizer.encode(std::string(1'000'000, '[')).ids.size() == 1'000'002);
  CHECK(tokenizer.encode(std::string(1'000'000, '\xff')).ids == Ids{2, 3});
  CHECK(tokenizer.encode(std::string(100'000, ' ')).ids.size() == 100'002);
  CHECK(tokenizer.encode(marks).ids == Ids{2, 3});
  CHECK(tokenizer.encode(chinese).ids.size() == 1'000'002);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  CHECK(seconds.count() < 20);
}

TEST_CASE("a long text is read only as far as it is used") {
  const std::string text = std::string(600, '!') + std::string(20'000'000, 'a');
  const auto seconds = [&](const Tokenizer& tokenizer, std::size_t tokens) {
    const auto start = std::chrono::steady_clock::now();
    const Encoding encoding = tokenizer.encode(text);
    CHECK(encoding.ids.size() == tokens);
    CHECK(encoding.truncated == (tokens == 512));
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  WordPieceSettings unlimited = bert_settings();
  unlimited.max_length = 0;
  const double all = seconds(make(unlimited), 603);
  CHECK(seconds(make(), 512) < all / 10);
}

TEST_CASE("a tokenizer serves many threads") {
  const Tokenizer tokenizer = make();
  std::vector<std::thread> threads;
  std::array<bool, 4> same{};
  for (std::size_t t = 0; t < same.size(); ++t) {
    threads.emplace_back([&tokenizer, &same, t] {
      same[t] = true;
      for (int i = 0; i < 200; ++i) {
        same[t] = same[t] &&
                  tokenizer.encode("the unaffable \u00c9!").ids == Ids{2, 5, 6, 7, 8, 1, 14, 3};
      }
    });
  }
  for (std::thread& thread : threads)
    thread.join();
  CHECK(same == std::array<bool, 4>{true, true, true, true});
}

TEST_CASE("ids of tokens are known, those of absent ones are not") {
  WordPieceSettings settings = bert_settings();
  settings.added_tokens.push_back({.content = "<x>", .id = 77});
  const Tokenizer tokenizer = make(settings);
  CHECK(tokenizer.id_of("[MASK]") == 4);
  CHECK(tokenizer.id_of("##able") == 8);
  CHECK(tokenizer.id_of("<x>") == 77);
  CHECK_FALSE(tokenizer.id_of("<y>"));
  CHECK(tokenizer.class_id() == 2);
  CHECK(tokenizer.separator_id() == 3);
  CHECK(tokenizer.id_of("[UNK]") == 1);
  CHECK(tokenizer.id_limit() == 78);
}

TEST_CASE("a vocabulary without its special tokens is refused by name") {
  CHECK(refusal({}, {}) == "special token '[CLS]' is not in the vocabulary");
  const std::vector<std::string> some = {"[CLS]", "[SEP]", "a"};
  CHECK(refusal(some, {}) == "special token '[UNK]' is not in the vocabulary");
  WordPieceSettings settings;
  settings.separator = "</s>";
  CHECK(refusal(pieces(), settings) == "special token '</s>' is not in the vocabulary");
  // [PAD] and [MASK] are for others: nothing here needs them.
  const std::vector<std::string> least = {"[CLS]", "[SEP]", "[UNK]"};
  CHECK(Tokenizer::create(least, WordPieceSettings{}));
}

TEST_CASE("settings that contradict each other are refused with a reason") {
  const auto with = [](auto change) {
    WordPieceSettings settings = bert_settings();
    change(settings);
    return refusal(pieces(), settings);
  };
  CHECK(with([](auto& s) { s.max_chars_per_word = 0; }) ==
        "expected at least 1 character per word, found 0");
  CHECK(with([](auto& s) { s.max_length = -1; }) ==
        "expected a length limit of 0 (none) or at least 3 tokens, found -1");
  CHECK(with([](auto& s) { s.mask = "\xff"; }) ==
        "expected special tokens in UTF-8 of at most 1024 bytes");
  CHECK(with([](auto& s) { s.added_tokens.push_back(special("", 30)); }) ==
        "added token with id 30: expected UTF-8 text of 1 to 1024 bytes");
  CHECK(with([](auto& s) { s.added_tokens.push_back(special("[SEP]", 30)); }) ==
        "added token '[SEP]' appears twice");
  CHECK(with([](auto& s) { s.added_tokens.push_back(special("<x>", 3)); }) ==
        "added token '<x>': id 3 is taken by another one");
  CHECK(with([](auto& s) { s.added_tokens.push_back(special("the", 30)); }) ==
        "added token 'the': expected id 5 as in the vocabulary, found 30");
  CHECK(with([](auto& s) { s.added_tokens.push_back(special("<x>", 5)); }) ==
        "added token '<x>': id 5 is taken or out of range");
  CHECK(with([](auto& s) { s.added_tokens.push_back(special("<x>", -1)); }) ==
        "added token '<x>': id -1 is taken or out of range");
}

}  // namespace
}  // namespace rtai::text
