#include "runtime/text/utf8.h"

#include <catch2/catch.hpp>

#include <vector>

namespace rtai::text {
namespace {

std::vector<char32_t> decode(std::string_view text) {
  std::vector<char32_t> characters;
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_utf8(text, i);
    characters.push_back(c.value);
    i += c.bytes;
  }
  return characters;
}

using Characters = std::vector<char32_t>;

TEST_CASE("every code point survives UTF-8") {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    std::string text;
    append_utf8(text, c);
    const DecodedCharacter decoded = decode_utf8(text, 0);
    if (decoded.value != c || decoded.bytes != text.size() || !is_valid_utf8(text)) {
      FAIL("code point " << static_cast<std::uint32_t>(c));
    }
  }
}

TEST_CASE("bytes that are not UTF-8 become U+FFFD as in Python") {
  const char32_t r = kReplacementCharacter;
  CHECK(decode("a\xff"
               "b") == Characters{'a', r, 'b'});
  CHECK(decode("\x80\xbf") == Characters{r, r});
  // Each maximal run that begins a character counts once.
  CHECK(decode("\xe2\x82") == Characters{r});
  CHECK(decode("\xf0\x9f\x98"
               "x") == Characters{r, 'x'});
  CHECK(decode("\xf0\x9f\x98\xf0\x9f\x98\x80") == Characters{r, 0x1f600});
  // Overlong forms, surrogates and what lies beyond U+10FFFF are no runs: each byte counts.
  CHECK(decode("\xc0\xaf") == Characters{r, r});
  CHECK(decode("\xe0\x80\xaf") == Characters{r, r, r});
  CHECK(decode("\xed\xa0\x80") == Characters{r, r, r});
  CHECK(decode("\xf4\x90\x80\x80") == Characters{r, r, r, r});
  CHECK(decode("\xf5\x80") == Characters{r, r});
}

TEST_CASE("U+FFFD itself is valid, what stands for it is not") {
  CHECK(is_valid_utf8("x\xef\xbf\xbd"));
  CHECK(is_valid_utf8(""));
  for (const char* text : {"\xef\xbf", "\x80", "\xf0\x9f\x98", "\xed\xa0\x80", "a\xc3"}) {
    CHECK_FALSE(is_valid_utf8(text));
  }
}

}  // namespace
}  // namespace rtai::text
