// Text to the ids that a BERT-class model takes: WordPiece, with the same ids, offsets and words as
// Hugging Face `tokenizers` 0.23 gives.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/added_tokens.h"
#include "runtime/text/vocabulary.h"

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rtai::text {

/// Everything a tokenizer is made from but its vocabulary.
struct WordPieceSettings {
  std::vector<AddedToken> added_tokens = {};

  // The steps of BERT's normalizer; where a file leaves strip_accents open, it is `lowercase`.
  bool clean_text = true;
  bool handle_chinese_chars = true;
  bool strip_accents = true;
  bool lowercase = true;

  std::string unknown = "[UNK]";
  std::string class_token = "[CLS]";
  std::string separator = "[SEP]";
  std::string pad = "[PAD]";    // need not be in the vocabulary
  std::string mask = "[MASK]";  // need not be in the vocabulary
  std::string continuation = "##";

  std::int32_t max_chars_per_word = 100;  // a longer word, after normalization, is unknown
  std::int32_t max_length = 512;  // tokens of an encoding with the special ones; 0: no limit

  friend bool operator==(const WordPieceSettings&, const WordPieceSettings&) = default;
};

/// A part of a text, in code points.
struct Offset {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;

  friend bool operator==(const Offset&, const Offset&) = default;
};

/// A text as the model takes it. All vectors are [tokens].
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> segments;  // 1 from the second text of a pair on, else 0
  std::vector<Offset> offsets;         // {0, 0} for [CLS] and [SEP]
  std::vector<std::int32_t> words;     // which word of its text; -1 for [CLS] and [SEP]
  bool truncated = false;              // the text had more tokens than max_length leaves room for
};

/// Immutable but for its length limit; one object serves any number of threads.
///
/// Bytes that are not UTF-8 count as U+FFFD (one for each maximal run that begins a character, as
/// in Python's bytes.decode(errors="replace")); clean_text drops that character. Time and memory
/// are linear in the text; but for pairs, reading stops where max_length is reached. A text longer
/// than 4 GiB is cut there.
class Tokenizer {
 public:
  /// `vocabulary[id]` is the piece of that id; an empty one leaves the id unused, of equal ones the
  /// last counts.
  ///
  /// Errors: invalid_input if a special token is missing, an added token contradicts the vocabulary
  /// or a number is out of range.
  static Result<Tokenizer> create(std::span<const std::string> vocabulary,
                                  WordPieceSettings settings);

  /// Reads what serialize() wrote; the bytes may be anything.
  /// Errors: corrupt.
  static Result<Tokenizer> deserialize(std::span<const std::byte> bytes);

  /// About the size of the vocabulary's text, the same bytes on every machine.
  std::vector<std::byte> serialize() const;

  /// [CLS] text [SEP].
  /// Each word and punctuation mark counts as a word, each added token too.
  Encoding encode(std::string_view text) const;

  /// [CLS] first [SEP] second [SEP]. Too long a pair loses tokens at the end of the longer text
  /// first. Offsets and words are those of the text that the segment names.
  Encoding encode_pair(std::string_view first, std::string_view second) const;

  /// [CLS] words [SEP], each word read by itself. Offsets begin anew in each word.
  Encoding encode_words(std::span<const std::string> words) const;

  const WordPieceSettings& settings() const { return settings_; }
  const Vocabulary& vocabulary() const { return vocabulary_; }

  /// Of a piece or an added token.
  std::optional<std::int32_t> id_of(std::string_view token) const;
  std::int32_t class_id() const { return class_id_; }
  std::int32_t separator_id() const { return separator_id_; }
  std::int32_t unknown_id() const { return unknown_id_; }
  /// One more than the largest id an encoding can hold: what the embedding must have rows for.
  std::int32_t id_limit() const { return id_limit_; }

  /// Changes settings().max_length, for instance to what a model has positions for.
  /// Errors: invalid_input if `tokens` is neither 0 (no limit) nor at least 3 (the special tokens).
  Result<void> set_max_length(std::int32_t tokens);

 private:
  friend class SequenceReader;

  // What to do with an ASCII character, settled once. Those that need a closer look are `other`.
  struct AsciiRule {
    enum class Kind : std::uint8_t { letter, whitespace, punctuation, other };
    Kind kind = Kind::other;
    char normalized = 0;  // of a letter or punctuation mark
  };

  Tokenizer(Vocabulary vocabulary, WordPieceSettings settings)
      : vocabulary_(std::move(vocabulary)), settings_(std::move(settings)) {}

  static Result<Tokenizer> assemble(Vocabulary vocabulary, WordPieceSettings settings);
  Result<void> check_settings() const;
  Result<void> check_added_tokens();
  Result<std::int32_t> require(std::string_view token) const;
  void prepare_matching();
  void prepare_ascii();
  std::size_t budget(std::int32_t special) const;

  Vocabulary vocabulary_;
  WordPieceSettings settings_;
  std::int32_t class_id_ = 0;
  std::int32_t separator_id_ = 0;
  std::int32_t unknown_id_ = 0;
  std::int32_t id_limit_ = 0;
  PatternFinder raw_tokens_;         // added tokens sought in the text as it is
  PatternFinder normalized_tokens_;  // and those sought in the normalized text
  std::array<AsciiRule, 128> ascii_{};
};

}  // namespace rtai::text
