// Text to the ids that a BERT-class model takes: WordPiece, byte pair encoding or Unigram, with the
// same ids, offsets and words as Hugging Face `tokenizers` 0.23 gives.
#pragma once

#include "runtime/base/byte_stream.h"
#include "runtime/base/result.h"
#include "runtime/text/tokenizer_settings.h"
#include "runtime/text/vocabulary.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// A part of a text, in code points.
struct Offset {
  std::uint32_t begin = 0;
  std::uint32_t end = 0;

  friend bool operator==(const Offset&, const Offset&) = default;
};

/// A text as the model takes it. All vectors are [tokens].
struct Encoding {
  std::vector<std::int32_t> ids;
  std::vector<std::int32_t> segments;  // as the frame says: of BERT, 1 from a second text on
  std::vector<Offset> offsets;         // {0, 0} for the tokens of the frame
  std::vector<std::int32_t> words;     // which word of its text; -1 for the tokens of the frame
  bool truncated = false;              // the text had more tokens than max_length leaves room for
};

struct Pipeline;

/// Immutable but for its length limit; one object serves any number of threads.
///
/// Bytes that are not UTF-8 count as U+FFFD (one for each maximal run that begins a character, as
/// in Python's bytes.decode(errors="replace")). Time and memory are linear in the text; but for
/// pairs, reading stops a few thousand bytes after max_length is reached, where the text has
/// spaces. A text longer than 4 GiB is cut there.
class Tokenizer {
 public:
  /// `vocabulary[id]` is the piece of that id; an empty one leaves the id unused, of equal ones the
  /// last counts.
  ///
  /// Errors: invalid_input if a special token is missing, an added token contradicts the
  /// vocabulary,
  ///         the frame or the model is not what it should be, or a number is out of range;
  ///         unsupported for a byte-level vocabulary that does not have all bytes.
  static Result<Tokenizer> create(std::span<const std::string> vocabulary,
                                  TokenizerSettings settings);
  static Result<Tokenizer> create(std::span<const std::string> vocabulary,
                                  WordPieceSettings settings);

  /// Reads what serialize() wrote, of any version; the bytes may be anything.
  /// Errors: corrupt.
  static Result<Tokenizer> deserialize(std::span<const std::byte> bytes);

  /// About the size of the vocabulary's text, the same bytes on every machine.
  std::vector<std::byte> serialize() const;

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  /// One text in its frame: [CLS] text [SEP].
  /// Each word and punctuation mark counts as a word, each added token too.
  Encoding encode(std::string_view text) const;

  /// Two: [CLS] first [SEP] second [SEP]. Too long a pair loses tokens at the end of the longer
  /// text first. Offsets and words are each those of its own text.
  Encoding encode_pair(std::string_view first, std::string_view second) const;

  /// One text that is split already, each word read by itself. Offsets begin anew in each word.
  Encoding encode_words(std::span<const std::string> words) const;

  const TokenizerSettings& settings() const;
  const Vocabulary& vocabulary() const;

  /// Of a piece or an added token.
  std::optional<std::int32_t> id_of(std::string_view token) const;
  /// The text of a piece or an added token; empty if there is none of that id.
  std::string_view token(std::int32_t id) const;
  /// The first and the last token of the frame around one text; -1 if it has none there.
  std::int32_t class_id() const;
  std::int32_t separator_id() const;
  /// One more than the largest id an encoding can hold: what the embedding must have rows for.
  std::int32_t id_limit() const;

  /// Changes settings().max_length, for instance to what a model has positions for.
  /// Errors: invalid_input if `tokens` is neither 0 (no limit) nor enough for the frame of a pair.
  Result<void> set_max_length(std::int32_t tokens);

 private:
  explicit Tokenizer(std::unique_ptr<Pipeline> pipeline);

  static Result<Tokenizer> assemble(Vocabulary vocabulary, TokenizerSettings settings);
  static Result<Tokenizer> assemble(Vocabulary vocabulary, WordPieceSettings settings);
  static Result<Tokenizer> read_word_piece(ByteReader& reader);
  static Result<Tokenizer> read_any(ByteReader& reader);

  std::unique_ptr<Pipeline> pipeline_;
};

}  // namespace rtai::text
