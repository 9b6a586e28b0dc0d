// How a word becomes pieces: WordPiece, byte pair encoding, Unigram.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/internal/piece_trie.h"
#include "runtime/text/tokenizer_settings.h"
#include "runtime/text/vocabulary.h"

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace rtai::text {

/// GPT-2's character for a byte: itself where it is printable.
/// Source: bytes_to_unicode of GPT-2's encoder.py.
char32_t byte_character(std::uint8_t byte);
/// The bytes that a piece spells so; empty if it has other characters.
std::string bytes_of(std::string_view piece);

/// A piece of a word.
struct PieceToken {
  std::int32_t id;
  std::uint32_t begin;  // bytes of the word
  std::uint32_t end;
};

/// The longest piece that the word begins with, then the longest that continues it, and so on; a
/// word that cannot be spelled is unknown.
/// Source: the model WordPiece of Hugging Face tokenizers 0.23.
class WordPieceModel {
 public:
  /// Errors: invalid_input if the unknown token is not a piece or max_chars_per_word not positive.
  static Result<WordPieceModel> create(const Vocabulary& vocabulary, const ModelSettings& settings);

  /// The memory that splitting needs, kept from word to word.
  struct Scratch {};

  /// Appends to `tokens`.
  void split(const Vocabulary& vocabulary,
             std::string_view word,
             Scratch& scratch,
             std::vector<PieceToken>& tokens) const;

 private:
  std::int32_t unknown_ = 0;
  std::uint32_t max_characters_ = 0;
  PieceTrie trie_;
  PieceTrie::Node continuation_ = PieceTrie::kRoot;  // where pieces that continue a word go on
};

/// Merges neighbours, the pair that stands first in the list of merges first, the leftmost of
/// equals. Source: the model BPE of Hugging Face tokenizers 0.23, without dropout.
class BpeModel {
 public:
  /// Errors: invalid_input if a merge names an id without piece or makes one that is no piece.
  static Result<BpeModel> create(const Vocabulary& vocabulary, const ModelSettings& settings);

  struct Symbol {
    std::int32_t id;
    std::uint32_t bytes;  // 0: merged into another
  };
  struct Candidate {
    std::uint32_t rank;
    std::int32_t at;
    std::int32_t merged;
  };
  struct Scratch {
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
    std::vector<std::int32_t> previous;
    std::vector<std::int32_t> next;
  };

  void split(const Vocabulary& vocabulary,
             std::string_view word,
             Scratch& scratch,
             std::vector<PieceToken>& tokens) const;

 private:
  struct Merge {
    std::uint64_t pair = kNoPair;  // both ids
    std::uint32_t rank = 0;
    std::int32_t merged = 0;
  };
  static constexpr std::uint64_t kNoPair = ~std::uint64_t{0};

  Result<void> prepare_merges(const Vocabulary& vocabulary, const ModelSettings& settings);
  Result<void> prepare_words(const Vocabulary& vocabulary);
  static std::uint64_t pair_of(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 |
           static_cast<std::uint32_t>(right);
  }
  std::size_t home(std::uint64_t pair) const {
    return static_cast<std::size_t>((pair ^ pair >> 29) * 0x9e3779b97f4a7c15 >> shift_);
  }
  const Merge* find_merge(std::int32_t left, std::int32_t right) const {
    const std::uint64_t pair = pair_of(left, right);
    for (std::size_t at = home(pair);; at = (at + 1) & (merges_.size() - 1)) {
      if (merges_[at].pair == pair) return &merges_[at];
      if (merges_[at].pair == kNoPair) return nullptr;
    }
  }
  void spell(const Vocabulary& vocabulary,
             std::string_view word,
             std::vector<Symbol>& symbols) const;
  void merge_few(std::vector<Symbol>& symbols) const;
  void merge_many(Scratch& scratch) const;

  std::int32_t unknown_ = Vocabulary::kNone;
  bool byte_level_ = false;
  bool fuse_unknown_ = false;
  bool ignore_merges_ = false;
  std::array<std::int32_t, 256> bytes_{};           // ids of single bytes, byte_level_
  std::array<std::int32_t, 256> fallback_bytes_{};  // ids of <0x00> ...; or none
  std::vector<Merge> merges_;                       // a hash table, a power of two
  int shift_ = 63;
  Vocabulary words_;  // the words that become one piece, as bytes of a text
};

/// The most likely sequence of pieces.
/// Source: the model Unigram of Hugging Face tokenizers 0.23, without sampling.
class UnigramModel {
 public:
  /// Errors: invalid_input if there is not a score for each piece, or one is not a number.
  static Result<UnigramModel> create(const Vocabulary& vocabulary, const ModelSettings& settings);

  struct Best {  // of the ways to spell the word up to a place
    double score;
    std::int32_t id;
    std::uint32_t begin;  // of its last piece
  };
  struct Scratch {
    std::vector<Best> best;
    std::vector<PieceToken> named;
  };

  void split(const Vocabulary& vocabulary,
             std::string_view word,
             Scratch& scratch,
             std::vector<PieceToken>& tokens) const;

 private:
  void name_unknown(const Vocabulary& vocabulary,
                    std::string_view word,
                    std::size_t first,
                    std::vector<PieceToken>& named,
                    std::vector<PieceToken>& tokens) const;

  std::int32_t unknown_ = 0;
  double unknown_score_ = 0;
  std::vector<double> scores_;
  std::array<std::int32_t, 256> fallback_bytes_{};  // or none
  PieceTrie trie_;
};

using Model = std::variant<WordPieceModel, BpeModel, UnigramModel>;
Result<Model> make_model(const Vocabulary& vocabulary, const ModelSettings& settings);

}  // namespace rtai::text
