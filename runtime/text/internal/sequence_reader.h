// Reads one text into the tokens of an encoding.
#pragma once

#include "runtime/text/internal/normalizer.h"
#include "runtime/text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// One pass from bytes to ids: added tokens are cut out, characters normalized, words and
/// punctuation told apart, and each word split when it ends. Allocates when a buffer grows, not for
/// each word.
class SequenceReader {
 public:
  static constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
  /// What to do once there are more tokens than the limit.
  enum class Beyond { stop, count };

  /// Appends to `encoding` (but not its segments) at most `limit` tokens.
  SequenceReader(const Tokenizer& tokenizer, Encoding& encoding, std::size_t limit, Beyond beyond);

  /// A text, whose words are counted.
  void read(std::string_view text);
  /// All of `text` belongs to the word `index`.
  void read_word(std::string_view text, std::int32_t index);

  /// Tokens found, also those beyond the limit.
  std::size_t tokens() const { return tokens_; }
  bool has_stopped() const { return stopped_; }

 private:
  // A character of the word that is being read.
  struct Letter {
    Vocabulary::Hash hash;  // of the word up to and including it
    std::uint32_t end;      // bytes of the word up to and including it
    std::uint32_t source;   // the code point of the text that it comes from
  };
  struct NormalizedCharacter {
    char32_t value;
    std::uint32_t source;
  };

  void read_characters(std::string_view text);
  bool read_ascii(char byte, std::uint32_t source);
  void accept(char32_t c, unicode::CharacterProperties properties, std::uint32_t source);
  void end_segment(std::uint32_t end);
  void split_line();

  void put(char32_t c, unicode::CharacterProperties properties, std::uint32_t source);
  bool begin_letter(std::uint32_t source);
  void end_letter(Vocabulary::Hash hash, std::uint32_t source);
  void end_word();
  bool split_word();
  std::size_t longest_piece(std::size_t first, std::int32_t& id);

  void add_token(std::int32_t id, Offset offset);
  void drop_tokens_after(std::size_t count);
  void add_added_token(const AddedToken& token, Offset offset);
  void next_word();

  const Tokenizer& tokenizer_;
  const Vocabulary& vocabulary_;
  Encoding& encoding_;
  const std::size_t first_token_;  // where in the encoding ours begin
  const std::size_t limit_;
  const Beyond beyond_;
  const bool by_line_;  // added tokens are sought in the normalized text, so it is gathered first
  std::size_t tokens_ = 0;
  bool stopped_ = false;
  std::int32_t word_ = 0;
  bool counts_words_ = true;

  Normalizer normalizer_;
  std::vector<NormalizedCharacter>
      line_;  // with by_line_: what was read since the last added token

  std::string word_text_;
  std::vector<Letter> letters_;
  std::vector<Vocabulary::Hash> hashes_;  // of the beginnings of a continuation
  std::uint32_t last_source_ = 0;         // of the word, also where it is too long to be kept
  bool too_long_ = false;
};

}  // namespace rtai::text
