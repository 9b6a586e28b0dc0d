#include "runtime/text/unicode_tables.h"

#include <catch2/catch.hpp>

#include <string>

namespace rtai::text::unicode {
namespace {

std::u32string text_of(const Sequence& sequence) {
  return {sequence.begin(), sequence.end()};
}

TEST_CASE("characters are what BERT's tokenizer takes them for") {
  using enum CharacterFlag;
  CHECK(has(U'\t', whitespace));
  CHECK_FALSE(has(U'\t', removed));
  CHECK(has(U'\u3000', whitespace));
  CHECK(has(U'\0', removed));
  CHECK(has(U'\ufffd', removed));
  CHECK(has(U'\u200b', removed));
  CHECK(has(U'$', punctuation));             // ASCII symbols count
  CHECK_FALSE(has(U'\u20ac', punctuation));  // others do not
  CHECK(has(U'\u3002', punctuation));
  CHECK(has(U'\u5317', chinese));
  CHECK_FALSE(has(U'\u304b', chinese));
  CHECK(has(U'\u0301', mark));
  CHECK(properties(U'\u0301').combining_class == 230);
  CHECK(has(U'_', word));
  CHECK_FALSE(has(U'-', word));
}

TEST_CASE("the tables are those of tokenizers, not of a version of Unicode") {
  using enum CharacterFlag;
  // Unassigned code points are kept, which the original BERT drops.
  CHECK_FALSE(has(0x378, removed));
  // A typing error in the range of CJK extension E.
  CHECK_FALSE(has(0x2b820, chinese));
  CHECK(has(0x2b920, chinese));
  // A mark of 2016 that the table of marks does not know but the one of NFD does.
  CHECK_FALSE(has(0x8d4, mark));
  CHECK(properties(0x8d4).combining_class == 230);
}

TEST_CASE("characters decompose as in NFD") {
  CHECK(text_of(decomposition(U'\u00e9')) == U"e\u0301");
  CHECK(text_of(decomposition(U'\u1e69')) == U"s\u0323\u0307");
  CHECK(text_of(decomposition(U'\u1f82')) == U"\u03b1\u0313\u0300\u0345");
  CHECK(text_of(decomposition(U'\uac00')) == U"\u1100\u1161");
  CHECK(text_of(decomposition(U'\ud7a3')) == U"\u1112\u1175\u11c2");
  CHECK(text_of(decomposition(0x2fa1d)) == U"\U0002a600");
  CHECK_FALSE(has(U'e', CharacterFlag::decomposes));
}

TEST_CASE("lower case is that of each character alone") {
  CHECK(text_of(lowercase(U'A')) == U"a");
  CHECK(text_of(lowercase(U'\u03a3')) == U"\u03c3");
  CHECK(text_of(lowercase(U'\u0130')) == U"i\u0307");
  CHECK(text_of(lowercase(0x1e921)) == U"\U0001e943");
  CHECK_FALSE(has(U'a', CharacterFlag::lowers));
}

TEST_CASE("the last code point has properties") {
  CHECK(has(0x10ffff, CharacterFlag::removed) == has(0x10fffe, CharacterFlag::removed));
}

}  // namespace
}  // namespace rtai::text::unicode
