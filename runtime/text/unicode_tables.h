// What tokenizers make of each Unicode code point: properties, normal forms, lower case.
//
// The tables in unicode_tables.cpp are those of Hugging Face `tokenizers`, found by asking it about
// every code point: they follow no single version of Unicode (generate_unicode_tables.py says why).
#pragma once

#include "runtime/base/assert.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace rtai::text::unicode {

inline constexpr char32_t kCodePoints = 0x110000;

/// What can be true of a character. The script that writes the tables uses the same bits.
enum class CharacterFlag : std::uint16_t {
  removed = 1 << 0,      // clean_text drops it: controls, U+0000, U+FFFD
  whitespace = 1 << 1,   // separates words; clean_text makes it a space unless it is removed
  chinese = 1 << 2,      // handle_chinese_chars makes it a word of its own
  punctuation = 1 << 3,  // a word of its own
  word = 1 << 4,         // \w of regular expressions: what a single_word token must not touch
  mark = 1 << 5,         // strip_accents drops it
  decomposes = 1 << 6,   // decomposition() has an answer
  lowers = 1 << 7,       // lowercase() has an answer
  letter = 1 << 8,       // \p{L}
  number = 1 << 9,       // \p{N}
  numeric = 1 << 10,     // what the pre-tokenizer Digits takes for one
  combining = 1 << 11,   // the normalizer StripAccents drops it
  decomposes_compatibly = 1 << 12,  // compatible_decomposition() has an answer other than NFD
  composes = 1 << 13,               // the second character of a pair that NFC composes
};

/// What a character does to the borders of grapheme clusters, as far as sentencepiece's normalizer,
/// which looks at those of less than six bytes, can tell. Hangul is told by ranges.
/// Source: Unicode Standard Annex 29, table 2.
enum class GraphemeClass : std::uint8_t { other, control, extend, spacing, prepend, pictographic };

struct CharacterProperties {
  std::uint16_t flags;
  std::uint8_t combining_class;  // canonical; 0 for what does not move in NFD
  GraphemeClass grapheme;

  bool has(CharacterFlag flag) const { return (flags & static_cast<std::uint16_t>(flag)) != 0; }
};

/// One to eighteen characters that stand for another.
class Sequence {
 public:
  static constexpr std::size_t kLongest = 18;  // U+FDFA in NFKD

  explicit Sequence(std::span<const char32_t> characters) {
    for (const char32_t c : characters)
      push_back(c);
  }
  void push_back(char32_t c) { characters_[size_++] = c; }

  const char32_t* begin() const { return characters_.data(); }
  const char32_t* end() const { return characters_.data() + size_; }

 private:
  std::array<char32_t, kLongest> characters_;  // only what size_ tells is set
  std::size_t size_ = 0;
};

/// A pair of characters that NFC makes one.
struct Composition {
  char32_t first;
  char32_t second;
  char32_t composed;
};

// Tries of two stages: the number of a character's block, then the value within the block.
inline constexpr int kBlockBits = 7;
// NOLINTBEGIN(readability-identifier-naming): constants, though their values are in the source file
extern const CharacterProperties kRecords[];
extern const std::uint16_t kRecordBlocks[];
extern const std::uint8_t kRecordValues[];
extern const std::uint16_t kDecompositionBlocks[];
extern const std::uint16_t kDecompositionValues[];
extern const std::uint16_t kCompatibleBlocks[];
extern const std::uint16_t kCompatibleValues[];
extern const std::uint16_t kLowercaseBlocks[];
extern const std::uint16_t kLowercaseValues[];
extern const std::uint16_t kSequenceEnds[];
extern const char32_t kSequenceCharacters[];
extern const Composition kCompositions[];  // sorted
extern const std::size_t kCompositionCount;
// NOLINTEND(readability-identifier-naming)

template <class Value>
Value trie_value(const std::uint16_t* blocks, const Value* values, char32_t c) {
  const std::size_t block = blocks[c >> kBlockBits];
  return values[(block << kBlockBits) + (c & ((1u << kBlockBits) - 1))];
}

/// `c` < kCodePoints.
inline CharacterProperties properties(char32_t c) {
  RTAI_ASSERT(c < kCodePoints, "the decoder gives nothing else");
  return kRecords[trie_value(kRecordBlocks, kRecordValues, c)];
}
inline bool has(char32_t c, CharacterFlag flag) {
  return properties(c).has(flag);
}

/// `number` > 0.
inline Sequence sequence_at(std::uint16_t number) {
  const std::size_t begin = kSequenceEnds[number - 1];
  return Sequence({kSequenceCharacters + begin, kSequenceEnds[number] - begin});
}

// Source: The Unicode Standard, section 3.12, for Hangul syllables.
inline constexpr char32_t kSyllables = 0xac00, kLeading = 0x1100, kVowels = 0x1161,
                          kTrailing = 0x11a7;
inline constexpr char32_t kLeadingCount = 19, kVowelCount = 21, kTrailingCount = 28,
                          kSyllableCount = 11'172;

/// The characters that `c` stands for in NFD, in canonical order; `c` must have `decomposes`.
inline Sequence decomposition(char32_t c) {
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

/// The same in NFKD; `c` must have `decomposes_compatibly`.
inline Sequence compatible_decomposition(char32_t c) {
  return sequence_at(trie_value(kCompatibleBlocks, kCompatibleValues, c));
}

/// What NFC makes of `first` followed by `second`; 0 if it leaves them two.
inline char32_t composition(char32_t first, char32_t second) {
  if (first - kLeading < kLeadingCount && second - kVowels < kVowelCount) {
    return kSyllables + ((first - kLeading) * kVowelCount + (second - kVowels)) * kTrailingCount;
  }
  const char32_t syllable = first - kSyllables;
  const char32_t trailing = second - kTrailing;
  if (syllable < kSyllableCount && syllable % kTrailingCount == 0 && trailing > 0 &&
      trailing < kTrailingCount) {
    return first + trailing;
  }
  if (!properties(second).has(CharacterFlag::composes)) return 0;
  const std::span<const Composition> all(kCompositions, kCompositionCount);
  const auto found =
      std::lower_bound(all.begin(), all.end(), Composition{first, second, 0},
                       [](const Composition& a, const Composition& b) {
                         return a.first != b.first ? a.first < b.first : a.second < b.second;
                       });
  const bool same = found != all.end() && found->first == first && found->second == second;
  return same ? found->composed : 0;
}

/// The lower case of `c`, whatever stands beside it; `c` must have `lowers`.
inline Sequence lowercase(char32_t c) {
  return sequence_at(trie_value(kLowercaseBlocks, kLowercaseValues, c));
}

}  // namespace rtai::text::unicode
