#include "runtime/text/internal/sequence_reader.h"

#include "runtime/text/utf8.h"

#include <algorithm>

namespace rtai::text {

using unicode::CharacterFlag;
using unicode::CharacterProperties;

SequenceReader::SequenceReader(const Tokenizer& tokenizer,
                               Encoding& encoding,
                               std::size_t limit,
                               Beyond beyond)
    : tokenizer_(tokenizer),
      vocabulary_(tokenizer.vocabulary_),
      encoding_(encoding),
      first_token_(encoding.ids.size()),
      limit_(limit),
      beyond_(beyond),
      by_line_(!tokenizer.normalized_tokens_.empty()),
      normalizer_({.clean_text = tokenizer.settings_.clean_text,
                   .handle_chinese_chars = tokenizer.settings_.handle_chinese_chars,
                   .strip_accents = tokenizer.settings_.strip_accents,
                   .lowercase = tokenizer.settings_.lowercase}) {}

void SequenceReader::read(std::string_view text) {
  counts_words_ = true;
  read_characters(text);
}

void SequenceReader::read_word(std::string_view text, std::int32_t index) {
  counts_words_ = false;
  word_ = index;
  read_characters(text);
}

void SequenceReader::read_characters(std::string_view text) {
  const auto sink = [this](char32_t c, CharacterProperties properties, std::uint32_t source) {
    accept(c, properties, source);
  };
  AddedTokenScan scan(tokenizer_.raw_tokens_, tokenizer_.settings_.added_tokens, text);
  for (Place at; at.byte < text.size() && !stopped_;) {
    if (read_ascii(text[at.byte], at.character)) {
      ++at.byte;
      ++at.character;
      continue;
    }
    if (const auto match = scan.at(at)) {
      end_segment(match->begin.character);
      add_added_token(*match->token, {match->begin.character, match->taken.character});
      at = match->end;
      continue;
    }
    const DecodedCharacter c = decode_utf8(text, at.byte);
    if (!scan.has_taken(at)) normalizer_.put(c.value, at.character, sink);
    at.byte += c.bytes;
    ++at.character;
  }
  end_segment(std::numeric_limits<std::uint32_t>::max());
}

// False if `byte` is not ASCII or needs the long way.
bool SequenceReader::read_ascii(char byte, std::uint32_t source) {
  using Kind = Tokenizer::AsciiRule::Kind;
  const auto index = static_cast<unsigned char>(byte);
  if (index >= tokenizer_.ascii_.size()) return false;
  const Tokenizer::AsciiRule rule = tokenizer_.ascii_[index];
  if (rule.kind == Kind::other) return false;
  if (normalizer_.has_waiting()) {
    normalizer_.flush([this](char32_t c, CharacterProperties properties, std::uint32_t from) {
      accept(c, properties, from);
    });
  }
  if (rule.kind != Kind::letter) end_word();
  if (rule.kind == Kind::whitespace) return true;
  if (begin_letter(source)) {
    word_text_ += rule.normalized;
    const Vocabulary::Hash before = letters_.empty() ? Vocabulary::kWordSeed : letters_.back().hash;
    end_letter(Vocabulary::extend(before, rule.normalized), source);
  }
  if (rule.kind == Kind::punctuation) end_word();
  return true;
}

void SequenceReader::accept(char32_t c, CharacterProperties properties, std::uint32_t source) {
  if (!by_line_) return put(c, properties, source);
  line_.push_back({c, source});
}

// The text up to an added token, or to its end, is normalized and split by itself. What comes from
// code point `end` on is whitespace that the added token takes.
void SequenceReader::end_segment(std::uint32_t end) {
  normalizer_.flush([this](char32_t c, CharacterProperties properties, std::uint32_t source) {
    accept(c, properties, source);
  });
  if (by_line_) {
    while (!line_.empty() && line_.back().source >= end)
      line_.pop_back();
    split_line();
  }
  end_word();
}

void SequenceReader::split_line() {
  std::string text;
  for (const NormalizedCharacter& c : line_)
    append_utf8(text, c.value);
  AddedTokenScan scan(tokenizer_.normalized_tokens_, tokenizer_.settings_.added_tokens, text);
  for (Place at; at.character < line_.size() && !stopped_;) {
    const NormalizedCharacter& c = line_[at.character];
    if (const auto match = scan.at(at)) {
      end_word();
      const std::uint32_t last = line_[match->taken.character - 1].source;
      add_added_token(*match->token, {line_[match->begin.character].source, last + 1});
      at = match->end;
      continue;
    }
    if (!scan.has_taken(at)) put(c.value, unicode::properties(c.value), c.source);
    at.byte += decode_utf8(text, at.byte).bytes;
    ++at.character;
  }
  line_.clear();
}

// A character of the normalized text.
void SequenceReader::put(char32_t c, CharacterProperties properties, std::uint32_t source) {
  const bool alone = properties.has(CharacterFlag::punctuation);
  const bool space = properties.has(CharacterFlag::whitespace);
  if (alone || space) end_word();
  if (space) return;
  if (begin_letter(source)) {
    Vocabulary::Hash hash = letters_.empty() ? Vocabulary::kWordSeed : letters_.back().hash;
    const std::size_t begin = word_text_.size();
    append_utf8(word_text_, c);
    for (std::size_t i = begin; i < word_text_.size(); ++i) {
      hash = Vocabulary::extend(hash, word_text_[i]);
    }
    end_letter(hash, source);
  }
  if (alone) end_word();
}

// False if the word has become too long to be kept.
bool SequenceReader::begin_letter(std::uint32_t source) {
  last_source_ = source;
  too_long_ |= letters_.size() == static_cast<std::size_t>(tokenizer_.settings_.max_chars_per_word);
  return !too_long_;
}

void SequenceReader::end_letter(Vocabulary::Hash hash, std::uint32_t source) {
  letters_.push_back({hash, static_cast<std::uint32_t>(word_text_.size()), source});
}

void SequenceReader::end_word() {
  if (letters_.empty()) return;
  const std::size_t before = tokens_;
  if (too_long_ || !split_word()) {
    // One piece that is not in the vocabulary makes the whole word unknown.
    drop_tokens_after(before);
    add_token(tokenizer_.unknown_id_, {letters_.front().source, last_source_ + 1});
  }
  letters_.clear();
  word_text_.clear();
  too_long_ = false;
  next_word();
}

// Greedy: the longest piece that the word begins with, then the longest that continues it, ...
bool SequenceReader::split_word() {
  for (std::size_t first = 0; first < letters_.size();) {
    std::int32_t id = Vocabulary::kNone;
    const std::size_t end = longest_piece(first, id);
    if (id == Vocabulary::kNone) return false;
    add_token(id, {letters_[first].source, letters_[end - 1].source + 1});
    first = end;
  }
  return true;
}

// Where the longest piece ends that begins with letter `first`.
std::size_t SequenceReader::longest_piece(std::size_t first, std::int32_t& id) {
  const std::string_view word = word_text_;
  if (first == 0) {
    for (std::size_t end = letters_.size(); end > 0; --end) {
      const Letter& last = letters_[end - 1];
      if (last.end > vocabulary_.longest_word()) continue;
      id = vocabulary_.find_word(last.hash, word.substr(0, last.end));
      if (id != Vocabulary::kNone) return end;
    }
    return 0;
  }
  const std::size_t begin = letters_[first - 1].end;
  Vocabulary::Hash hash = vocabulary_.continuation_seed();
  hashes_.clear();
  std::size_t end = first;
  for (std::size_t byte = begin; end < letters_.size(); ++end) {
    if (letters_[end].end - begin > vocabulary_.longest_continuation()) break;
    for (; byte < letters_[end].end; ++byte)
      hash = Vocabulary::extend(hash, word[byte]);
    hashes_.push_back(hash);
  }
  for (; end > first; --end) {
    const std::string_view rest = word.substr(begin, letters_[end - 1].end - begin);
    id = vocabulary_.find_continuation(hashes_[end - 1 - first], rest);
    if (id != Vocabulary::kNone) return end;
  }
  return 0;
}

void SequenceReader::add_token(std::int32_t id, Offset offset) {
  if (tokens_++ >= limit_) return;
  encoding_.ids.push_back(id);
  encoding_.offsets.push_back(offset);
  encoding_.words.push_back(word_);
}

void SequenceReader::drop_tokens_after(std::size_t count) {
  if (count == tokens_) return;
  tokens_ = count;
  const std::size_t size = first_token_ + std::min(count, limit_);
  encoding_.ids.resize(size);
  encoding_.offsets.resize(size);
  encoding_.words.resize(size);
}

void SequenceReader::add_added_token(const AddedToken& token, Offset offset) {
  add_token(token.id, offset);
  next_word();
}

void SequenceReader::next_word() {
  if (counts_words_) ++word_;
  stopped_ = beyond_ == Beyond::stop && tokens_ > limit_;
}

}  // namespace rtai::text
