// The pieces of a vocabulary and the table that finds them.
#pragma once

#include "runtime/base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::text {

/// All pieces in one string, found through one hash table: opening 30,000 of them costs two
/// allocations and a pass over their bytes.
class Vocabulary {
 public:
  /// More than any WordPiece vocabulary has (LaBSE: 501,153); bounds what a file can make us
  /// allocate.
  static constexpr std::size_t kMaxPieces = 1u << 22;
  /// Bounds the work for each character of a word, which may be as long as its longest piece.
  static constexpr std::size_t kMaxPieceBytes = 1024;

  enum class Content { utf8, bytes };

  /// An empty one.
  Vocabulary() = default;

  /// `ends[id]` is where the piece of that id ends in `text`; it begins where the one before ends.
  /// An empty piece leaves its id unused. Of equal pieces the last is found. `continuation` is what
  /// begins the pieces that continue a word.
  ///
  /// Errors: invalid_input if there are too many pieces or too long ones, `ends` does not ascend to
  /// the end of the text, the text is not UTF-8 where it should be, or pieces are made to collide in the table.
  static Result<Vocabulary> create(std::string text,
                                   std::vector<std::uint32_t> ends,
                                   std::string_view continuation,
                                   Content content = Content::utf8);

  /// One more than the largest id.
  std::size_t size() const { return ends_.size(); }
  /// `id` < size(). Empty for an unused id.
  std::string_view piece(std::size_t id) const {
    const std::size_t begin = id == 0 ? 0 : ends_[id - 1];
    return std::string_view(text_).substr(begin, ends_[id] - begin);
  }
  /// All pieces laid end to end.
  std::string_view text() const { return text_; }

  std::optional<std::int32_t> find(std::string_view piece) const;

  /// A hash grows with the bytes of a string, so that all beginnings of a word are hashed in one
  /// pass: start from kWordSeed, or from continuation_seed() for a piece that continues a word.
  using Hash = std::uint64_t;
  static constexpr Hash kWordSeed = 0x243f6a8885a308d3;
  static Hash extend(Hash hash, char byte) {
    // Multiplication by an odd constant carries every bit upwards; the table uses the upper ones.
    return (hash ^ static_cast<unsigned char>(byte)) * 0x9e3779b97f4a7c15;
  }
  Hash continuation_seed() const { return continuation_seed_; }

  static constexpr std::int32_t kNone = -1;
  /// The id of the piece `word`, whose hash is `hash`; or kNone.
  std::int32_t find_word(Hash hash, std::string_view word) const { return lookup(hash, {}, word); }
  /// The id of the piece that is `rest` after the continuation, hashed from continuation_seed().
  std::int32_t find_continuation(Hash hash, std::string_view rest) const {
    return lookup(hash, continuation_, rest);
  }
  /// Bytes of the longest piece, and of the longest one after its continuation.
  std::size_t longest_word() const { return longest_word_; }
  std::size_t longest_continuation() const { return longest_continuation_; }

 private:
  struct Slot {
    std::uint32_t tag;     // bits of the hash: a miss seldom touches the text
    std::uint32_t number;  // id + 1; 0: free
  };

  Result<void> insert(std::size_t id, Content content);
  std::size_t home(Hash hash) const { return static_cast<std::size_t>(hash >> shift_); }
  static std::uint32_t tag_of(Hash hash) { return static_cast<std::uint32_t>(hash >> 12); }
  std::int32_t lookup(Hash hash, std::string_view head, std::string_view tail) const;

  std::string text_;
  std::vector<std::uint32_t> ends_;  // [size]
  std::vector<Slot> slots_ = std::vector<Slot>(2);  // a power of two
  int shift_ = 63;                   // 64 - log2(slots)
  std::string continuation_;
  Hash continuation_seed_ = kWordSeed;
  std::size_t longest_word_ = 0;
  std::size_t longest_continuation_ = 0;
};

}  // namespace rtai::text
