// What BERT's tokenizer does with each Unicode code point: properties, decomposition, lower case.
//
// The tables in unicode_tables.cpp are those of Hugging Face `tokenizers`, found by asking it about
// every code point: they follow no single version of Unicode (generate_unicode_tables.py says why).
#pragma once

#include "runtime/base/assert.h"

#include <array>
#include <cstdint>
#include <span>

namespace rtai::text::unicode {

inline constexpr char32_t kCodePoints = 0x110000;

/// What can be true of a character. The script that writes the tables uses the same bits.
enum class CharacterFlag : std::uint8_t {
  removed = 1 << 0,      // clean_text drops it: controls, U+0000, U+FFFD
  whitespace = 1 << 1,   // separates words; clean_text makes it a space unless it is removed
  chinese = 1 << 2,      // handle_chinese_chars makes it a word of its own
  punctuation = 1 << 3,  // a word of its own
  word = 1 << 4,         // \w of regular expressions: what a single_word token must not touch
  mark = 1 << 5,         // strip_accents drops it
  decomposes = 1 << 6,   // decomposition() has an answer
  lowers = 1 << 7,       // lowercase() has an answer
};

struct CharacterProperties {
  std::uint8_t flags;
  std::uint8_t combining_class;  // canonical; 0 for what does not move in NFD

  bool has(CharacterFlag flag) const { return (flags & static_cast<std::uint8_t>(flag)) != 0; }
};

/// One to four characters that stand for another.
class Sequence {
 public:
  explicit Sequence(std::span<const char32_t> characters) {
    for (const char32_t c : characters)
      push_back(c);
  }
  void push_back(char32_t c) { characters_[size_++] = c; }

  const char32_t* begin() const { return characters_.data(); }
  const char32_t* end() const { return characters_.data() + size_; }

 private:
  std::array<char32_t, 4> characters_{};
  std::size_t size_ = 0;
};

// Tries of two stages: the number of a character's block, then the value within the block.
inline constexpr int kBlockBits = 7;
// NOLINTBEGIN(readability-identifier-naming): constants, though their values are in the source file
extern const CharacterProperties kRecords[];
extern const std::uint8_t kRecordBlocks[];
extern const std::uint8_t kRecordValues[];
extern const std::uint8_t kDecompositionBlocks[];
extern const std::uint16_t kDecompositionValues[];
extern const std::uint8_t kLowercaseBlocks[];
extern const std::uint16_t kLowercaseValues[];
extern const char32_t kSequenceCharacters[];
// NOLINTEND(readability-identifier-naming)

template <class Value>
Value trie_value(const std::uint8_t* blocks, const Value* values, char32_t c) {
  const std::size_t block = blocks[c >> kBlockBits];
  return values[(block << kBlockBits) + (c & ((1u << kBlockBits) - 1))];
}

/// `c` < kCodePoints.
inline CharacterProperties properties(char32_t c) {
  RTAI_ASSERT(c < kCodePoints, "the decoder gives nothing else");
  return kRecords[trie_value(kRecordBlocks, kRecordValues, c)];
}

inline Sequence sequence_at(std::uint16_t place) {
  return Sequence({kSequenceCharacters + (place >> 2), (place & 3u) + 1u});
}

/// The characters that `c` stands for in NFD, in canonical order; `c` must have `decomposes`.
/// Source: The Unicode Standard, section 3.12, for Hangul syllables.
inline Sequence decomposition(char32_t c) {
  constexpr char32_t kSyllables = 0xac00, kLeading = 0x1100, kVowels = 0x1161, kTrailing = 0x11a7;
  constexpr char32_t kVowelCount = 21, kTrailingCount = 28, kSyllableCount = 11'172;
  const char32_t syllable = c - kSyllables;
  if (syllable >= kSyllableCount) {
    return sequence_at(trie_value(kDecompositionBlocks, kDecompositionValues, c));
  }
  Sequence jamo({});
  jamo.push_back(kLeading + syllable / (kVowelCount * kTrailingCount));
  jamo.push_back(kVowels + syllable / kTrailingCount % kVowelCount);
  if (syllable % kTrailingCount != 0) jamo.push_back(kTrailing + syllable % kTrailingCount);
  return jamo;
}

/// The lower case of `c`, whatever stands beside it; `c` must have `lowers`.
inline Sequence lowercase(char32_t c) {
  return sequence_at(trie_value(kLowercaseBlocks, kLowercaseValues, c));
}

}  // namespace rtai::text::unicode
