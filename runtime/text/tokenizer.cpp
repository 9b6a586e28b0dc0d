#include "runtime/text/tokenizer.h"

#include "runtime/text/internal/normalizer.h"
#include "runtime/text/internal/sequence_reader.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace rtai::text {
namespace {

constexpr std::int32_t kSpecialInSingle = 2;  // [CLS] [SEP]
constexpr std::int32_t kSpecialInPair = 3;    // [CLS] [SEP] [SEP]

Error invalid(std::string message) {
  return {ErrorCode::invalid_input, std::move(message)};
}

NormalizerSteps steps_of(const WordPieceSettings& settings) {
  return {.clean_text = settings.clean_text,
          .handle_chinese_chars = settings.handle_chinese_chars,
          .strip_accents = settings.strip_accents,
          .lowercase = settings.lowercase};
}

std::string normalized(std::string_view text, const WordPieceSettings& settings) {
  std::string result;
  const auto sink = [&](char32_t c, unicode::CharacterProperties, std::uint32_t) {
    append_utf8(result, c);
  };
  Normalizer normalizer(steps_of(settings));
  for (std::size_t i = 0; i < text.size();) {
    const DecodedCharacter c = decode_utf8(text, i);
    normalizer.put(c.value, 0, sink);
    i += c.bytes;
  }
  normalizer.flush(sink);
  return result;
}

struct PairLengths {
  std::size_t first;
  std::size_t second;
};

// The longer text gives way first, down to the length of the shorter; then both, down to half each.
// Source: truncate_encodings, "longest first", of Hugging Face tokenizers 0.23.
PairLengths shorten_longest_first(PairLengths lengths, std::size_t budget) {
  if (lengths.first + lengths.second <= budget) return lengths;
  const std::size_t shorter = std::min(lengths.first, lengths.second);
  if (shorter <= budget / 2) {
    const std::size_t rest = budget - shorter;
    return lengths.first > lengths.second ? PairLengths{rest, shorter} : PairLengths{shorter, rest};
  }
  const std::size_t half = budget / 2;
  return lengths.first > lengths.second ? PairLengths{budget - half, half}
                                        : PairLengths{half, budget - half};
}

// Room for what an English text of so many bytes becomes, at 4 bytes for a token.
void reserve(Encoding& encoding, std::size_t bytes, std::size_t budget) {
  const std::size_t tokens = std::min(bytes / 4, budget) + 8;
  encoding.ids.reserve(tokens);
  encoding.offsets.reserve(tokens);
  encoding.words.reserve(tokens);
}

void add_special(Encoding& encoding, std::int32_t id) {
  encoding.ids.push_back(id);
  encoding.offsets.push_back({});
  encoding.words.push_back(-1);
}

void erase_tokens(Encoding& encoding, std::size_t begin, std::size_t end) {
  const auto erase = [=](auto& values) {
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(begin),
                 values.begin() + static_cast<std::ptrdiff_t>(end));
  };
  erase(encoding.ids);
  erase(encoding.offsets);
  erase(encoding.words);
}

// Places in a text are counted in 32 bits.
std::string_view readable(std::string_view text, Encoding& encoding) {
  constexpr std::size_t kMaxBytes = std::numeric_limits<std::uint32_t>::max() - 1;
  encoding.truncated |= text.size() > kMaxBytes;
  return text.substr(0, kMaxBytes);
}

}  // namespace

Result<Tokenizer> Tokenizer::create(std::span<const std::string> vocabulary,
                                    WordPieceSettings settings) {
  std::string text;
  std::vector<std::uint32_t> ends;
  ends.reserve(vocabulary.size());
  for (const std::string& piece : vocabulary) {
    text += piece;
    if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
      return invalid("the vocabulary is larger than 4 GiB");
    }
    ends.push_back(static_cast<std::uint32_t>(text.size()));
  }
  RTAI_TRY(Vocabulary pieces,
           Vocabulary::create(std::move(text), std::move(ends), settings.continuation));
  return assemble(std::move(pieces), std::move(settings));
}

Result<Tokenizer> Tokenizer::assemble(Vocabulary vocabulary, WordPieceSettings settings) {
  Tokenizer tokenizer(std::move(vocabulary), std::move(settings));
  RTAI_TRY_VOID(tokenizer.check_settings());
  RTAI_TRY_VOID(tokenizer.check_added_tokens());
  RTAI_TRY(tokenizer.class_id_, tokenizer.require(tokenizer.settings_.class_token));
  RTAI_TRY(tokenizer.separator_id_, tokenizer.require(tokenizer.settings_.separator));
  // Unlike the others it is the answer of WordPiece itself, so an added token would not do.
  const auto unknown = tokenizer.vocabulary_.find(tokenizer.settings_.unknown);
  if (!unknown) {
    return invalid("special token '" + tokenizer.settings_.unknown + "' is not in the vocabulary");
  }
  tokenizer.unknown_id_ = *unknown;
  tokenizer.prepare_matching();
  tokenizer.prepare_ascii();
  return tokenizer;
}

Result<void> Tokenizer::check_settings() const {
  if (settings_.max_chars_per_word < 1) {
    return invalid("expected at least 1 character per word, found " +
                   std::to_string(settings_.max_chars_per_word));
  }
  const std::string* const texts[] = {&settings_.unknown,   &settings_.class_token,
                                      &settings_.separator, &settings_.pad,
                                      &settings_.mask,      &settings_.continuation};
  for (const std::string* text : texts) {
    if (text->size() > Vocabulary::kMaxPieceBytes || !is_valid_utf8(*text)) {
      return invalid("expected special tokens in UTF-8 of at most " +
                     std::to_string(Vocabulary::kMaxPieceBytes) + " bytes");
    }
  }
  if (settings_.max_length != 0 && settings_.max_length < kSpecialInPair) {
    return invalid("expected a length limit of 0 (none) or at least 3 tokens, found " +
                   std::to_string(settings_.max_length));
  }
  return {};
}

Result<void> Tokenizer::set_max_length(std::int32_t tokens) {
  const std::int32_t before = std::exchange(settings_.max_length, tokens);
  Result<void> checked = check_settings();
  if (!checked) settings_.max_length = before;
  return checked;
}

Result<void> Tokenizer::check_added_tokens() {
  std::set<std::string_view> contents;
  std::set<std::int32_t> ids;
  id_limit_ = static_cast<std::int32_t>(vocabulary_.size());
  for (const AddedToken& token : settings_.added_tokens) {
    const std::string named = "added token '" + token.content + "'";
    const std::size_t size = token.content.size();
    if (size == 0 || size > Vocabulary::kMaxPieceBytes || !is_valid_utf8(token.content)) {
      return invalid("added token with id " + std::to_string(token.id) +
                     ": expected UTF-8 text of 1 to " + std::to_string(Vocabulary::kMaxPieceBytes) +
                     " bytes");
    }
    if (!contents.insert(token.content).second) return invalid(named + " appears twice");
    if (!ids.insert(token.id).second) {
      return invalid(named + ": id " + std::to_string(token.id) + " is taken by another one");
    }
    const auto in_vocabulary = vocabulary_.find(token.content);
    if (in_vocabulary && *in_vocabulary != token.id) {
      return invalid(named + ": expected id " + std::to_string(*in_vocabulary) +
                     " as in the vocabulary, found " + std::to_string(token.id));
    }
    const auto id = static_cast<std::size_t>(token.id);
    const bool taken = !in_vocabulary && id < vocabulary_.size() && !vocabulary_.piece(id).empty();
    if (token.id < 0 || token.id == std::numeric_limits<std::int32_t>::max() || taken) {
      return invalid(named + ": id " + std::to_string(token.id) + " is taken or out of range");
    }
    id_limit_ = std::max(id_limit_, token.id + 1);
  }
  return {};
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  for (const AddedToken& added : settings_.added_tokens) {
    if (added.content == token) return added.id;
  }
  return vocabulary_.find(token);
}

Result<std::int32_t> Tokenizer::require(std::string_view token) const {
  const auto id = id_of(token);
  if (!id) return invalid("special token '" + std::string(token) + "' is not in the vocabulary");
  return *id;
}

void Tokenizer::prepare_matching() {
  std::vector<PatternFinder::Pattern> raw;
  std::vector<PatternFinder::Pattern> in_normalized;
  for (std::size_t i = 0; i < settings_.added_tokens.size(); ++i) {
    const AddedToken& token = settings_.added_tokens[i];
    if (token.normalized) {
      in_normalized.push_back({normalized(token.content, settings_), i});
    } else {
      raw.push_back({token.content, i});
    }
  }
  raw_tokens_ = PatternFinder(std::move(raw));
  normalized_tokens_ = PatternFinder(std::move(in_normalized));
}

void Tokenizer::prepare_ascii() {
  using Kind = AsciiRule::Kind;
  for (std::size_t code = 0; code < ascii_.size(); ++code) {
    const auto c = static_cast<char>(code);
    const std::string text = normalized(std::string_view(&c, 1), settings_);
    const bool needs_look =
        text.size() != 1 || raw_tokens_.may_start_with(c) || !normalized_tokens_.empty();
    if (needs_look) continue;
    const auto properties = unicode::properties(static_cast<unsigned char>(text[0]));
    const bool alone = properties.has(unicode::CharacterFlag::punctuation);
    const bool space = properties.has(unicode::CharacterFlag::whitespace);
    ascii_[code] = {space ? Kind::whitespace : alone ? Kind::punctuation : Kind::letter, text[0]};
  }
}

Encoding Tokenizer::encode(std::string_view text) const {
  Encoding encoding;
  reserve(encoding, text.size(), budget(kSpecialInSingle));
  add_special(encoding, class_id_);
  SequenceReader reader(*this, encoding, budget(kSpecialInSingle), SequenceReader::Beyond::stop);
  reader.read(readable(text, encoding));
  encoding.truncated |= reader.has_stopped();
  add_special(encoding, separator_id_);
  encoding.segments.assign(encoding.ids.size(), 0);
  return encoding;
}

Encoding Tokenizer::encode_words(std::span<const std::string> words) const {
  Encoding encoding;
  add_special(encoding, class_id_);
  SequenceReader reader(*this, encoding, budget(kSpecialInSingle), SequenceReader::Beyond::stop);
  for (std::size_t i = 0; i < words.size() && !reader.has_stopped(); ++i) {
    reader.read_word(readable(words[i], encoding), static_cast<std::int32_t>(i));
  }
  encoding.truncated |= reader.has_stopped();
  add_special(encoding, separator_id_);
  encoding.segments.assign(encoding.ids.size(), 0);
  return encoding;
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second) const {
  Encoding encoding;
  const std::size_t room = budget(kSpecialInPair);
  add_special(encoding, class_id_);
  // Which of the texts is the longer one decides, so both are counted to the end.
  SequenceReader first_reader(*this, encoding, room, SequenceReader::Beyond::count);
  first_reader.read(readable(first, encoding));
  const std::size_t first_end = encoding.ids.size();
  add_special(encoding, separator_id_);
  SequenceReader second_reader(*this, encoding, room, SequenceReader::Beyond::count);
  second_reader.read(readable(second, encoding));

  const PairLengths all{first_reader.tokens(), second_reader.tokens()};
  const PairLengths kept = shorten_longest_first(all, room);
  encoding.truncated |= kept.first < all.first || kept.second < all.second;
  erase_tokens(encoding, first_end + 1 + kept.second, encoding.ids.size());
  erase_tokens(encoding, 1 + kept.first, first_end);
  add_special(encoding, separator_id_);
  encoding.segments.assign(kept.first + 2, 0);
  encoding.segments.resize(encoding.ids.size(), 1);
  return encoding;
}

std::size_t Tokenizer::budget(std::int32_t special) const {
  if (settings_.max_length == 0) return SequenceReader::kNoLimit;
  return static_cast<std::size_t>(settings_.max_length - special);
}

}  // namespace rtai::text
