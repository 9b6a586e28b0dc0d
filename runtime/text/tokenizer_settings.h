// What a tokenizer is made from but its vocabulary: the parts of a tokenizer.json, each as the few
// primitive steps that it amounts to.
#pragma once

#include "runtime/text/added_tokens.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rtai::text {

/// One change to a whole text, before it is split.
struct NormalizerStep {
  enum class Kind : std::uint8_t {
    clean_text = 0,        // drops controls, makes all whitespace spaces
    separate_chinese = 1,  // puts spaces around each Chinese character
    nfd = 2,
    nfkd = 3,
    nfc = 4,
    nfkc = 5,
    strip_marks = 6,       // drops nonspacing marks, as BertNormalizer does after NFD
    strip_accents = 7,     // drops combining marks, as StripAccents does
    lowercase = 8,         // each character by itself: no final sigma
    nmt = 9,               // drops some controls, makes others spaces
    strip_left = 10,       // drops whitespace at the beginning
    strip_right = 11,      // and at the end
    prepend = 12,          // `text` before a text that is not empty
    replace = 13,          // `pattern` by `text`
    join_spaces = 14,      // two and more spaces by `text`: " {2,}"
    charsmap = 15,         // sentencepiece's precompiled rules, the bytes of which are `text`
    join_whitespace = 16,  // runs of any whitespace, and single line ends and tabs, by `text`:
                           // \s{2,}|[\n\r\t]
  };
  Kind kind;
  std::string pattern = {};
  std::string text = {};

  friend bool operator==(const NormalizerStep&, const NormalizerStep&) = default;
};

/// One splitting of every word there is so far; in the beginning the text is one. First spaces are
/// replaced, then the prefix is put, then the word is split where the pattern matches.
struct SplitterStep {
  enum class Prefix : std::uint8_t { never = 0, first = 1, always = 2 };
  enum class Pattern : std::uint8_t {
    none = 0,
    whitespace = 1,
    punctuation = 2,
    numeric = 3,
    word_or_symbols = 4,  // \w+|[^\w\s]+
    gpt2 = 5,             // the regular expression of GPT-2's tokenizer
    literal = 6,          // `literal`
  };
  /// What becomes of a match.
  enum class Delimiter : std::uint8_t {
    removed = 0,
    isolated = 1,
    merged_with_previous = 2,
    merged_with_next = 3,
    contiguous = 4,
  };

  std::string space = {};  // replaces each ' '; empty: they stay
  Prefix prefix = Prefix::never;
  Pattern pattern = Pattern::none;
  Delimiter delimiter = Delimiter::isolated;
  bool invert = false;  // what lies between the matches are the matches
  std::string literal = {};

  /// What is put before a word that does not begin with it: the first of the text, or each.
  std::string prefix_text() const { return space.empty() ? " " : space; }

  friend bool operator==(const SplitterStep&, const SplitterStep&) = default;
};

/// How a word becomes pieces.
struct ModelSettings {
  enum class Kind : std::uint8_t { word_piece = 0, bpe = 1, unigram = 2 };
  Kind kind = Kind::word_piece;

  std::string unknown = {};  // empty: none
  // word_piece
  std::string continuation = {};          // begins the pieces that continue a word
  std::int32_t max_chars_per_word = 100;  // a longer word is unknown
  // bpe
  bool byte_level = false;     // pieces spell bytes by GPT-2's 256 characters
  bool fuse_unknown = false;   // unknown characters side by side are one token
  bool ignore_merges = false;  // a word that is a piece is not merged from its characters
  std::vector<std::pair<std::int32_t, std::int32_t>> merges = {};  // ids, the first go first
  // bpe and unigram
  bool byte_fallback = false;  // unknown characters are spelled by pieces like <0xE4>
  // unigram
  std::vector<double> scores = {};  // [pieces]

  friend bool operator==(const ModelSettings&, const ModelSettings&) = default;
};

/// "WordPiece", "BPE", "byte-level BPE" or "Unigram".
std::string_view model_name(const ModelSettings& model);

/// A token of the frame around a text, or the place of a text.
struct FrameStep {
  static constexpr std::int32_t kFirst = -1;
  static constexpr std::int32_t kSecond = -2;
  std::int32_t id = kFirst;
  std::int32_t segment = 0;

  friend bool operator==(const FrameStep&, const FrameStep&) = default;
};

struct TokenizerSettings {
  std::vector<AddedToken> added_tokens = {};
  std::vector<NormalizerStep> normalizer = {};
  std::vector<SplitterStep> splitter = {};
  ModelSettings model = {};
  std::vector<FrameStep> single = {};  // around one text
  std::vector<FrameStep> pair = {};    // around two
  // Offsets leave out the whitespace that a token begins and ends with; but the first keeps one
  // space where a prefix is put.
  bool trim_offsets = false;
  bool trim_keeps_prefix = false;
  std::string pad = {};           // need not be in the vocabulary
  std::string mask = {};          // need not be in the vocabulary
  std::int32_t max_length = 512;  // tokens of an encoding with the frame; 0: no limit

  bool normalizes(NormalizerStep::Kind kind) const {
    return std::any_of(normalizer.begin(), normalizer.end(),
                       [kind](const NormalizerStep& step) { return step.kind == kind; });
  }

  friend bool operator==(const TokenizerSettings&, const TokenizerSettings&) = default;
};

/// BERT's own tokenizer, as its vocab.txt and a few flags describe it.
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
};

/// The steps of a BertNormalizer, in its order.
std::vector<NormalizerStep> bert_normalizer(bool clean_text,
                                            bool handle_chinese_chars,
                                            bool strip_accents,
                                            bool lowercase);

/// Splits at whitespace, and makes each punctuation mark a word.
std::vector<SplitterStep> bert_splitter();

}  // namespace rtai::text
