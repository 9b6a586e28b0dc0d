#include "runtime/text/internal/splitter.h"

#include "runtime/text/unicode_tables.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <utility>

namespace rtai::text {
namespace {

using unicode::CharacterFlag;
using Delimiter = SplitterStep::Delimiter;
using Pattern = SplitterStep::Pattern;
using Prefix = SplitterStep::Prefix;

// The flags of ASCII without the way through the tables.
const std::array<std::uint16_t, 128>& ascii_flags() {
  static const auto flags = [] {
    std::array<std::uint16_t, 128> all{};
    for (std::size_t c = 0; c < all.size(); ++c)
      all[c] = unicode::properties(static_cast<char32_t>(c)).flags;
    return all;
  }();
  return flags;
}

/// Walks over a text, a character at a time.
class Reader {
 public:
  Reader(std::string_view text, std::size_t position) : text_(text), position_(position) {}

  std::size_t position() const { return position_; }
  bool at_end() const { return position_ == text_.size(); }
  char byte() const { return text_[position_]; }
  /// The flags of the character here; next() goes on to the one after it.
  std::uint16_t flags() {
    const auto lead = static_cast<unsigned char>(text_[position_]);
    if (lead < 0x80) {
      size_ = 1;
      return ascii_[lead];
    }
    const DecodedCharacter c = decode_utf8(text_, position_);
    size_ = c.bytes;
    return unicode::properties(c.value).flags;
  }
  void next() { position_ += size_; }

  /// Goes on as long as characters have one of the flags of `wanted`, or, with `none`, have none.
  void skip(std::uint16_t wanted, bool none = false) {
    while (!at_end() && ((flags() & wanted) == 0) == none)
      next();
  }

 private:
  std::string_view text_;
  std::size_t position_;
  std::size_t size_ = 1;
  const std::uint16_t* ascii_ = ascii_flags().data();
};

constexpr std::uint16_t bit(CharacterFlag flag) {
  return static_cast<std::uint16_t>(flag);
}

/// Puts words between the borders that matches make.
class Output {
 public:
  Output(Delimiter delimiter, std::uint32_t begin, std::vector<ByteRange>& words)
      : delimiter_(delimiter), begin_(begin), words_(words) {}

  /// The text up to `end` matches, or lies between matches.
  void put(std::uint32_t end, bool match) {
    if (end == at_) return;
    switch (delimiter_) {
      case Delimiter::removed:
        cut(at_);
        if (match) begin_ = end;
        break;
      case Delimiter::isolated:
        cut(at_);
        break;
      case Delimiter::merged_with_next:
        if (match || !matched_) cut(at_);
        break;
      case Delimiter::merged_with_previous:
        if (!match || matched_) cut(at_);
        break;
      case Delimiter::contiguous:
        if (match != matched_) cut(at_);
        break;
    }
    matched_ = match;
    at_ = end;
  }
  void finish() { cut(at_); }

 private:
  void cut(std::uint32_t at) {
    if (begin_ < at) words_.push_back({begin_, at});
    begin_ = std::max(begin_, at);
  }

  Delimiter delimiter_;
  std::uint32_t begin_;
  std::uint32_t at_ = begin_;
  bool matched_ = false;
  std::vector<ByteRange>& words_;
};

// 's|'t|'re|'ve|'m|'ll|'d
std::size_t contraction(std::string_view text, std::size_t at) {
  const std::string_view rest = text.substr(at, 3);
  if (rest.size() < 2) return 0;
  if (rest[1] == 's' || rest[1] == 't' || rest[1] == 'm' || rest[1] == 'd') return 2;
  const std::string_view two = rest.substr(1);
  return two == "re" || two == "ve" || two == "ll" ? 3 : 0;
}

// The end of the match of GPT-2's expression that begins at `at`; every character is part of one.
// 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
std::size_t gpt2_match(std::string_view text, std::size_t at) {
  constexpr std::uint16_t kLetter = bit(CharacterFlag::letter);
  constexpr std::uint16_t kNumber = bit(CharacterFlag::number);
  constexpr std::uint16_t kSpace = bit(CharacterFlag::whitespace);
  if (text[at] == '\'') {
    if (const std::size_t size = contraction(text, at)) return at + size;
  }
  Reader reader(text, at);
  if (reader.byte() == ' ' && at + 1 < text.size()) reader = Reader(text, at + 1);
  const std::uint16_t first = reader.flags();
  if ((first & kSpace) == 0) {
    if ((first & kLetter) != 0) {
      reader.skip(kLetter);
    } else if ((first & kNumber) != 0) {
      reader.skip(kNumber);
    } else {
      reader.skip(kSpace | kLetter | kNumber, true);
    }
    return reader.position();
  }
  // Whitespace: all at the end of the text, all but the last character before something else.
  reader = Reader(text, at);
  std::size_t last = at;
  while (!reader.at_end() && (reader.flags() & kSpace) != 0) {
    last = reader.position();
    reader.next();
  }
  return reader.at_end() || last == at ? reader.position() : last;
}

// Single characters that have a flag.
void split_at_flag(std::uint16_t flag, bool invert, Reader reader, Output& out) {
  while (!reader.at_end()) {
    const bool match = (reader.flags() & flag) != 0;
    if (match) {
      reader.next();
    } else {
      reader.skip(flag, true);
    }
    out.put(static_cast<std::uint32_t>(reader.position()), match != invert);
  }
}

// \w+|[^\w\s]+
void split_words_and_symbols(bool invert, Reader reader, Output& out) {
  constexpr std::uint16_t kWord = bit(CharacterFlag::word);
  constexpr std::uint16_t kSpace = bit(CharacterFlag::whitespace);
  while (!reader.at_end()) {
    const std::uint16_t flags = reader.flags();
    const bool is_word = (flags & kWord) != 0;
    const bool is_space = !is_word && (flags & kSpace) != 0;
    if (is_word) {
      reader.skip(kWord);
    } else if (is_space) {
      reader.skip(kSpace);
    } else {
      reader.skip(kWord | kSpace, true);
    }
    out.put(static_cast<std::uint32_t>(reader.position()), is_space == invert);
  }
}

void split_at_literal(const SplitterStep& step,
                      std::string_view text,
                      std::size_t at,
                      Output& out) {
  while (at < text.size()) {
    const std::size_t found = std::min(text.find(step.literal, at), text.size());
    out.put(static_cast<std::uint32_t>(found), step.invert);
    at = std::min(found + step.literal.size(), text.size());
    out.put(static_cast<std::uint32_t>(at), !step.invert);
  }
}

void split_word(const SplitterStep& step,
                std::string_view text,
                ByteRange word,
                std::vector<ByteRange>& words) {
  Output out(step.delimiter, word.begin, words);
  text = text.substr(0, word.end);
  switch (step.pattern) {
    case Pattern::none:
      out.put(word.end, false);
      break;
    case Pattern::whitespace:
      split_at_flag(bit(CharacterFlag::whitespace), step.invert, Reader(text, word.begin), out);
      break;
    case Pattern::punctuation:
      split_at_flag(bit(CharacterFlag::punctuation), step.invert, Reader(text, word.begin), out);
      break;
    case Pattern::numeric:
      split_at_flag(bit(CharacterFlag::numeric), step.invert, Reader(text, word.begin), out);
      break;
    case Pattern::word_or_symbols:
      split_words_and_symbols(step.invert, Reader(text, word.begin), out);
      break;
    case Pattern::gpt2:
      for (std::size_t at = word.begin; at < text.size();) {
        at = gpt2_match(text, at);
        out.put(static_cast<std::uint32_t>(at), !step.invert);
      }
      break;
    case Pattern::literal:
      split_at_literal(step, text, word.begin, out);
      break;
  }
  out.finish();
}

// Copies a word, with spaces replaced and the prefix put.
ByteRange rewrite(const SplitterStep& step, const SplitText& from, ByteRange word, SplitText& to) {
  const std::string_view text = std::string_view(from.text).substr(0, word.end);
  const std::string prefix = step.prefix_text();
  const auto begin = static_cast<std::uint32_t>(to.text.size());
  const bool has_prefix = text.substr(word.begin).starts_with(prefix) || text[word.begin] == ' ';
  const Offset source = from.sources[word.begin];
  const bool wants =
      step.prefix == Prefix::always || (step.prefix == Prefix::first && source.begin == 0);
  if (wants && !has_prefix) to.append(prefix, source);
  for (std::size_t at = word.begin; at < text.size();) {
    const std::size_t space =
        step.space.empty() ? text.size() : std::min(text.find(' ', at), text.size());
    to.text += text.substr(at, space - at);
    to.sources.insert(to.sources.end(), from.sources.begin() + static_cast<std::ptrdiff_t>(at),
                      from.sources.begin() + static_cast<std::ptrdiff_t>(space));
    if (space < text.size()) to.append(step.space, from.sources[space]);
    at = space + 1;
  }
  return {begin, static_cast<std::uint32_t>(to.text.size())};
}

// Whether a step before all that look at more than single characters makes each match a border.
bool splits_first(std::span<const SplitterStep> steps, Pattern pattern) {
  for (const SplitterStep& step : steps) {
    const bool single = step.pattern == Pattern::whitespace ||
                        step.pattern == Pattern::punctuation || step.pattern == Pattern::numeric;
    if (!single || !step.space.empty() || step.prefix != Prefix::never) return false;
    const bool borders =
        step.delimiter == Delimiter::removed || step.delimiter == Delimiter::isolated;
    if (step.pattern == pattern && borders && !step.invert) return true;
  }
  return false;
}

}  // namespace

std::vector<SplitterStep> bert_splitter() {
  return {{.pattern = Pattern::whitespace, .delimiter = Delimiter::removed},
          {.pattern = Pattern::punctuation, .delimiter = Delimiter::isolated}};
}

Result<Splitter> Splitter::create(std::span<const SplitterStep> steps) {
  Splitter splitter;
  splitter.steps_.assign(steps.begin(), steps.end());
  splitter.splits_at_punctuation_ = splits_first(steps, Pattern::punctuation);
  splitter.drops_spaces_ =
      splits_first(steps, Pattern::whitespace) && steps.front().delimiter == Delimiter::removed;
  for (const SplitterStep& step : steps) {
    if (!is_valid_utf8(step.space) || !is_valid_utf8(step.literal)) {
      return Error{ErrorCode::invalid_input, "a text of the pre-tokenizer is not UTF-8"};
    }
    if (step.pattern == Pattern::literal && step.literal.empty()) {
      return Error{ErrorCode::invalid_input, "the pre-tokenizer splits at an empty text"};
    }
    const bool at_space = step.pattern == Pattern::whitespace && !step.invert;
    const bool at_replaced_space = step.pattern == Pattern::literal && !step.invert &&
                                   !step.space.empty() && step.literal == step.space;
    const bool before = step.delimiter == Delimiter::isolated ||
                        step.delimiter == Delimiter::merged_with_next ||
                        step.delimiter == Delimiter::removed;
    splitter.splits_before_space_ |=
        (before && (at_space || at_replaced_space)) ||
        (step.pattern == Pattern::gpt2 && step.delimiter == Delimiter::isolated) ||
        (step.pattern == Pattern::word_or_symbols && step.invert &&
         step.delimiter == Delimiter::removed);
    // A literal with a space in it could lie across the border.
    if (step.pattern == Pattern::literal && step.literal.find(' ') != std::string::npos) {
      splitter.splits_before_space_ = false;
      break;
    }
  }
  return splitter;
}

void Splitter::run(SplitText& split, SplitText& scratch) const {
  for (const SplitterStep& step : steps_) {
    const bool rewrites = !step.space.empty() || step.prefix != Prefix::never;
    scratch.words.clear();
    if (rewrites) {
      scratch.text.clear();
      scratch.sources.clear();
    }
    for (const ByteRange word : split.words) {
      if (rewrites) {
        const ByteRange rewritten = rewrite(step, split, word, scratch);
        split_word(step, scratch.text, rewritten, scratch.words);
      } else {
        split_word(step, split.text, word, scratch.words);
      }
    }
    if (rewrites) {
      std::swap(split.text, scratch.text);
      std::swap(split.sources, scratch.sources);
    }
    std::swap(split.words, scratch.words);
  }
}

}  // namespace rtai::text
