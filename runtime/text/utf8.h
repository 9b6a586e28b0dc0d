// UTF-8 in and out. What is not UTF-8 reads as U+FFFD, so that every text has code points.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace rtai::text {

inline constexpr char32_t kReplacementCharacter = 0xfffd;

/// Whether `byte` goes on with a character instead of beginning one.
inline bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0u) == 0x80u;
}

struct DecodedCharacter {
  char32_t value;
  std::uint32_t bytes;  // how many it took, at least 1
};

/// The character at `position` < text.size(). Where there is none, U+FFFD stands for the longest
/// run of bytes that begins one (at least one byte), as in Python's bytes.decode(errors="replace").
///
/// Source: The Unicode Standard, section 3.9, table 3-7 and "U+FFFD Substitution of Maximal
/// Subparts".
inline DecodedCharacter decode_utf8(std::string_view text, std::size_t position) {
  const auto byte = [&](std::size_t i) -> std::uint32_t {
    return position + i < text.size() ? static_cast<unsigned char>(text[position + i]) : 0;
  };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xc2 || lead > 0xf4) return {kReplacementCharacter, 1};

  const std::uint32_t length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  // The second byte is where overlong forms, surrogates and what lies beyond U+10FFFF show.
  const std::uint32_t lowest = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
  const std::uint32_t highest = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
  if (byte(1) < lowest || byte(1) > highest) return {kReplacementCharacter, 1};

  std::uint32_t value = lead & (0x7fu >> length);
  value = value << 6 | (byte(1) & 0x3f);
  for (std::uint32_t i = 2; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {kReplacementCharacter, i};
    value = value << 6 | (byte(i) & 0x3f);
  }
  return {value, length};
}

/// The character that ends where `position` > 0 is.
inline DecodedCharacter decode_before(std::string_view text, std::size_t position) {
  std::size_t begin = position - 1;
  while (begin > 0 && position - begin < 4 && is_continuation(text[begin]))
    --begin;
  const DecodedCharacter c = decode_utf8(text, begin);
  return begin + c.bytes == position ? c : DecodedCharacter{kReplacementCharacter, 1};
}

/// How many characters begin in `text`, which is UTF-8.
inline std::uint32_t count_characters(std::string_view text) {
  std::uint32_t count = 0;
  for (const char byte : text)
    count += is_continuation(byte) ? 0 : 1;
  return count;
}

/// Whether `text` decodes without a replacement.
inline bool is_valid_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_utf8(text, i);
    // U+FFFD itself takes three bytes; a replaced sequence of three bytes begins with 0xf0 or more.
    if (c.value == kReplacementCharacter &&
        !(c.bytes == 3 && static_cast<unsigned char>(text[i]) == 0xef)) {
      return false;
    }
    i += c.bytes;
  }
  return true;
}

/// `c` < 0x110000 and no surrogate.
inline void append_utf8(std::string& text, char32_t c) {
  const auto put = [&](std::uint32_t byte) { text += static_cast<char>(byte); };
  if (c < 0x80) return put(c);
  if (c < 0x800) {
    put(0xc0 | c >> 6);
  } else {
    if (c < 0x10000) {
      put(0xe0 | c >> 12);
    } else {
      put(0xf0 | c >> 18);
      put(0x80 | (c >> 12 & 0x3f));
    }
    put(0x80 | (c >> 6 & 0x3f));
  }
  put(0x80 | (c & 0x3f));
}

}  // namespace rtai::text
