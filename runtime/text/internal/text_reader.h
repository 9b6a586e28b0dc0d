// Reads one text into the tokens of an encoding.
#pragma once

#include "runtime/text/internal/pipeline.h"
#include "runtime/text/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

namespace rtai::text {

/// Cuts added tokens out of a text, normalizes and splits what is between them, and makes pieces of
/// the words: a stretch of some thousand bytes at a time, so that reading can stop early. Allocates
/// when a buffer grows, neither for each word nor for each text.
class TextReader {
 public:
  static constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();
  /// What to do once there are more tokens than the limit.
  enum class Beyond { stop, count };

  /// Appends to `encoding` at most `limit` tokens of segment `segment`.
  TextReader(const Pipeline& pipeline,
             Encoding& encoding,
             std::int32_t segment,
             std::size_t limit,
             Beyond beyond);

  TextReader(const TextReader&) = delete;
  TextReader& operator=(const TextReader&) = delete;
  ~TextReader();

  /// Of no meaning between texts.
  struct Memory {
    Characters characters;
    Characters scratch_characters;
    std::vector<std::uint32_t> places;
    SplitText normalized;
    SplitText split;
    SplitText scratch_split;
    WordPieceModel::Scratch word_piece;
    BpeModel::Scratch bpe;
    UnigramModel::Scratch unigram;
    std::vector<PieceToken> pieces;
  };

  /// A text, whose words are counted.
  void read(std::string_view text);
  /// All of `text` belongs to the word `index`.
  void read_word(std::string_view text, std::int32_t index);

  /// Tokens found, also those beyond the limit.
  std::size_t tokens() const { return tokens_; }
  bool has_stopped() const { return stopped_; }

 private:
  void read_characters(std::string_view text);
  void read_segment(std::string_view text, std::uint32_t origin, Stretch stretch);
  void normalize(std::string_view text, std::uint32_t origin, Stretch stretch);
  bool normalize_simple(std::string_view text, std::uint32_t origin, Stretch stretch);
  void normalize_fully(std::string_view text, std::uint32_t origin, Stretch stretch);
  void copy(std::string_view text, std::uint32_t origin);
  void cut_normalized_tokens();
  void read_words();
  template <class AnyModel, class Scratch>
  void make_pieces(const AnyModel& model, Scratch& scratch);

  void add_token(std::int32_t id, Offset offset, std::string_view value);
  void trim(std::string_view value, Offset& offset) const;
  void add_added_token(const AddedToken& token, Offset offset, std::string_view value);
  void next_word();

  const Pipeline& pipeline_;
  Encoding& encoding_;
  const std::int32_t segment_;
  const std::size_t limit_;
  const Beyond beyond_;
  std::size_t tokens_ = 0;
  bool stopped_ = false;
  std::int32_t word_ = 0;
  bool counts_words_ = true;

  std::unique_ptr<Memory> memory_;
};

}  // namespace rtai::text
