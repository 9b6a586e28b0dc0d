#include "runtime/text/internal/text_reader.h"

#include "runtime/text/unicode_tables.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <memory>
#include <utility>

namespace rtai::text {
namespace {

using unicode::CharacterFlag;

// A few times what 512 tokens of English need, so that most texts are read at once.
constexpr std::size_t kStretchBytes = 4096;

// A letter or digit that neither moves nor joins in any normal form.
bool is_plain(char32_t c) {
  if (c < 0x80) return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  const unicode::CharacterProperties properties = unicode::properties(c);
  return (properties.has(CharacterFlag::letter) || properties.has(CharacterFlag::number)) &&
         properties.combining_class == 0 && !properties.has(CharacterFlag::composes) &&
         properties.grapheme == unicode::GraphemeClass::other;
}

// Whether `at` is a space between two plain characters: nothing on one side of it depends on the
// other, in any normalizer, and every splitter that knows spaces makes a border before it.
bool is_before_space(std::string_view text, std::size_t at) {
  return text[at] == ' ' && at > 0 && at + 1 < text.size() &&
         is_plain(decode_before(text, at).value) && is_plain(decode_utf8(text, at + 1).value);
}

bool is_graphic(char c) {
  return c > ' ' && c < 0x7f;
}

// The same for the other cuts.
bool is_cut(std::string_view text, std::size_t at, Cuts cuts) {
  if (at == 0) return false;
  if (cuts.before_spaces && is_before_space(text, at)) return true;
  const char before = text[at - 1];
  if (cuts.after_punctuation && is_graphic(before) && is_graphic(text[at]) &&
      !is_plain(static_cast<char32_t>(before))) {
    return true;
  }
  const auto chinese = [](char32_t c) {
    return unicode::properties(c).has(CharacterFlag::chinese);
  };
  return cuts.between_chinese && chinese(decode_utf8(text, at).value) &&
         chinese(decode_before(text, at).value);
}

bool is_ascii(char c) {
  return static_cast<unsigned char>(c) < 0x80;
}

// Code points, also of what is not UTF-8.
std::uint32_t count_places(std::string_view text) {
  std::uint32_t count = 0;
  for (std::size_t at = 0; at < text.size(); ++count)
    at += is_ascii(text[at]) ? 1 : decode_utf8(text, at).bytes;
  return count;
}

// Between `begin` and `at`, or `begin` if there is none.
Place last_cut(std::string_view text, Place begin, Place at, Cuts cuts) {
  for (std::size_t cut = at.byte; cut > begin.byte; --cut) {
    if (!is_cut(text, cut, cuts)) continue;
    return {cut, at.character - count_places(text.substr(cut, at.byte - cut))};
  }
  return begin;
}

// Whitespace as ByteLevel's trimming sees it, at the beginning of a token and at its end.
struct Edges {
  std::uint32_t leading = 0;
  std::uint32_t trailing = 0;
};
Edges whitespace_edges(std::string_view value) {
  const auto is_space = [](char32_t c) {
    constexpr char32_t kByteLevelSpace = 0x120;
    return c == kByteLevelSpace || unicode::properties(c).has(CharacterFlag::whitespace);
  };
  Edges edges;
  for (std::size_t at = 0; at < value.size(); ++edges.leading) {
    const DecodedCharacter c = decode_utf8(value, at);
    if (!is_space(c.value)) break;
    at += c.bytes;
  }
  for (std::size_t end = value.size(); end > 0; ++edges.trailing) {
    const DecodedCharacter c = decode_before(value, end);
    if (!is_space(c.value)) break;
    end -= c.bytes;
  }
  return edges;
}

/// The memory of readers that are done: texts are short, and each would begin with allocations. Not
/// one per thread: a thread's first variable with a destructor ends the program where memory is
/// out.
class KeptMemory {
 public:
  KeptMemory() = default;
  KeptMemory(const KeptMemory&) = delete;
  KeptMemory& operator=(const KeptMemory&) = delete;
  ~KeptMemory() {
    while (take() != nullptr) {
    }
  }

  /// Null if all are in use.
  std::unique_ptr<TextReader::Memory> take() {
    for (auto& place : places_) {
      std::unique_ptr<TextReader::Memory> memory(place.exchange(nullptr));
      if (memory != nullptr) return memory;
    }
    return nullptr;
  }

  void put_back(std::unique_ptr<TextReader::Memory> memory) {
    for (auto& place : places_) {
      memory.reset(place.exchange(memory.release()));
      if (memory == nullptr) return;
    }
  }

 private:
  std::array<std::atomic<TextReader::Memory*>, 4> places_ = {};  // as many threads read at once
};

constinit KeptMemory kept_memory;

}  // namespace

TextReader::TextReader(const Pipeline& pipeline,
                       Encoding& encoding,
                       std::int32_t segment,
                       std::size_t limit,
                       Beyond beyond)
    : pipeline_(pipeline),
      encoding_(encoding),
      segment_(segment),
      limit_(limit),
      beyond_(beyond),
      memory_(kept_memory.take()) {
  if (memory_ == nullptr) memory_ = std::make_unique<Memory>();
}

TextReader::~TextReader() {
  // More would be held for a text that was an exception.
  constexpr std::size_t kMostBytes = 1u << 16;
  const std::size_t held = memory_->normalized.text.capacity() + memory_->split.text.capacity() +
                           memory_->scratch_split.text.capacity() + memory_->characters.capacity();
  if (held <= kMostBytes) kept_memory.put_back(std::move(memory_));
}

void TextReader::read(std::string_view text) {
  counts_words_ = true;
  read_characters(text);
}

void TextReader::read_word(std::string_view text, std::int32_t index) {
  counts_words_ = false;
  word_ = index;
  read_characters(text);
}

void TextReader::read_characters(std::string_view text) {
  AddedTokenScan scan(pipeline_.raw_tokens, pipeline_.settings.added_tokens, text);
  Place begin;  // of what is not read yet
  bool first = true;
  bool may_cut = false;
  const auto read_up_to = [&](Place end, bool last) {
    if (begin.byte < end.byte) {
      read_segment(text.substr(begin.byte, end.byte - begin.byte), begin.character,
                   {.first = first, .last = last});
    }
    first = last || (first && begin.byte == end.byte);
    begin = end;
  };
  for (Place at; at.byte < text.size() && !stopped_;) {
    if (const auto match = scan.at(at)) {
      read_up_to(match->begin, true);
      if (stopped_) return;
      add_added_token(*match->token, {match->begin.character, match->taken.character},
                      text.substr(match->begin.byte, match->taken.byte - match->begin.byte));
      begin = match->taken;
      at = match->end;
      continue;
    }
    if (first && at.byte == begin.byte) {
      may_cut = pipeline_.normalizer.may_cut(decode_utf8(text, at.byte).value);
    }
    const std::size_t waiting = std::max(at.byte, begin.byte) - begin.byte;
    if (may_cut && waiting >= kStretchBytes) {
      // The last cut there was, or where there was none, the next there is.
      if (waiting < kStretchBytes + 4) {
        read_up_to(last_cut(text, begin, at, pipeline_.cuts), false);
      } else if (is_cut(text, at.byte, pipeline_.cuts)) {
        read_up_to(at, false);
      }
      if (stopped_) return;
    }
    at.byte += is_ascii(text[at.byte]) ? 1 : decode_utf8(text, at.byte).bytes;
    ++at.character;
    if (at.byte == text.size()) read_up_to(at, true);
  }
}

// The text between two added tokens, or a stretch of it.
void TextReader::read_segment(std::string_view text, std::uint32_t origin, Stretch stretch) {
  memory_->normalized.clear();
  if (pipeline_.normalizer.is_identity()) {
    copy(text, origin);
  } else {
    normalize(text, origin, stretch);
  }
  if (pipeline_.normalized_tokens.empty()) {
    std::swap(memory_->split.text, memory_->normalized.text);
    std::swap(memory_->split.sources, memory_->normalized.sources);
    read_words();
  } else {
    cut_normalized_tokens();
  }
}

void TextReader::copy(std::string_view text, std::uint32_t origin) {
  for (std::size_t at = 0; at < text.size(); ++origin) {
    const Offset source{origin, origin + 1};
    if (is_ascii(text[at])) {
      memory_->normalized.text += text[at++];
      memory_->normalized.sources.push_back(source);
      continue;
    }
    const DecodedCharacter c = decode_utf8(text, at);
    at += c.bytes;
    append_utf8(memory_->normalized.text, c.value);
    memory_->normalized.sources.resize(memory_->normalized.text.size(), source);
  }
}

// Stretches of simple characters go a short way.
void TextReader::normalize(std::string_view text, std::uint32_t origin, Stretch stretch) {
  const Normalizer& normalizer = pipeline_.normalizer;
  const bool may_cut = normalizer.may_cut(decode_utf8(text, 0).value);
  std::size_t begin = 0;
  while (begin < text.size()) {
    // Up to the last cut before a character that is not simple; if that is where we are, up to the
    // first cut after such characters.
    std::size_t end = begin;
    std::size_t last_cut = begin;
    while (end < text.size()) {
      const std::uint32_t bytes = normalizer.simple_bytes(text, end);
      if (bytes == 0) break;
      if (is_before_space(text, end)) last_cut = end;
      end += bytes;
    }
    const bool all_simple = end == text.size();
    if (!may_cut && !all_simple) {
      end = text.size();
    } else if (!all_simple) {
      if (last_cut == begin) {
        while (end < text.size() && !is_before_space(text, end))
          ++end;
      } else {
        end = last_cut;
      }
    }
    const std::string_view part = text.substr(begin, end - begin);
    const Stretch of_part{.first = stretch.first && begin == 0,
                          .last = stretch.last && end == text.size()};
    const bool simple = all_simple || end == last_cut;
    if (!simple || !normalize_simple(part, origin, of_part)) normalize_fully(part, origin, of_part);
    origin += count_places(part);
    begin = end;
  }
}

bool TextReader::normalize_simple(std::string_view text, std::uint32_t origin, Stretch stretch) {
  memory_->places.clear();
  SplitText& normalized = memory_->normalized;
  if (!pipeline_.normalizer.run_simple(text, stretch, normalized.text, memory_->places)) {
    return false;
  }
  for (const std::uint32_t place : memory_->places)
    normalized.sources.push_back({origin + place, origin + place + 1});
  return true;
}

void TextReader::normalize_fully(std::string_view text, std::uint32_t origin, Stretch stretch) {
  memory_->characters.clear();
  std::uint32_t place = origin;
  for (std::size_t at = 0; at < text.size(); ++place) {
    const DecodedCharacter c = decode_utf8(text, at);
    at += c.bytes;
    memory_->characters.push_back({c.value, place, place + 1});
  }
  pipeline_.normalizer.run(memory_->characters, memory_->scratch_characters, origin, stretch);
  for (const Character& c : memory_->characters) {
    append_utf8(memory_->normalized.text, c.value);
    memory_->normalized.sources.resize(memory_->normalized.text.size(), {c.begin, c.end});
  }
}

void TextReader::cut_normalized_tokens() {
  const std::string_view text = memory_->normalized.text;
  const std::span<const Offset> sources = memory_->normalized.sources;
  AddedTokenScan scan(pipeline_.normalized_tokens, pipeline_.settings.added_tokens, text);
  std::size_t begin = 0;
  const auto read_up_to = [&](std::size_t end) {
    if (begin >= end) return;
    memory_->split.text = text.substr(begin, end - begin);
    const std::span<const Offset> part = sources.subspan(begin, end - begin);
    memory_->split.sources.assign(part.begin(), part.end());
    read_words();
  };
  for (Place at; at.byte < text.size() && !stopped_;) {
    if (const auto match = scan.at(at)) {
      read_up_to(match->begin.byte);
      if (stopped_) return;
      add_added_token(*match->token,
                      {sources[match->begin.byte].begin, sources[match->taken.byte - 1].end},
                      text.substr(match->begin.byte, match->taken.byte - match->begin.byte));
      begin = match->taken.byte;
      at = match->end;
      continue;
    }
    at.byte += decode_utf8(text, at.byte).bytes;
    ++at.character;
  }
  if (!stopped_) read_up_to(text.size());
}

void TextReader::read_words() {
  if (memory_->split.text.empty()) return;
  memory_->split.words.assign(1, {0, static_cast<std::uint32_t>(memory_->split.text.size())});
  pipeline_.splitter.run(memory_->split, memory_->scratch_split);
  switch (pipeline_.settings.model.kind) {
    case ModelSettings::Kind::word_piece:
      return make_pieces(std::get<WordPieceModel>(pipeline_.model), memory_->word_piece);
    case ModelSettings::Kind::bpe:
      return make_pieces(std::get<BpeModel>(pipeline_.model), memory_->bpe);
    case ModelSettings::Kind::unigram:
      return make_pieces(std::get<UnigramModel>(pipeline_.model), memory_->unigram);
  }
}

template <class AnyModel, class Scratch>
void TextReader::make_pieces(const AnyModel& model, Scratch& scratch) {
  const Vocabulary& vocabulary = pipeline_.vocabulary;
  for (const ByteRange word : memory_->split.words) {
    if (stopped_) return;
    memory_->pieces.clear();
    const std::string_view text =
        std::string_view(memory_->split.text).substr(word.begin, word.end - word.begin);
    model.split(vocabulary, text, scratch, memory_->pieces);
    const std::span<const Offset> sources =
        std::span<const Offset>(memory_->split.sources).subspan(word.begin, word.end - word.begin);
    for (const PieceToken& piece : memory_->pieces) {
      const Offset offset{sources[piece.begin].begin, sources[piece.end - 1].end};
      add_token(piece.id, offset, vocabulary.piece(static_cast<std::size_t>(piece.id)));
    }
    next_word();
  }
}

void TextReader::add_token(std::int32_t id, Offset offset, std::string_view value) {
  if (pipeline_.settings.trim_offsets) trim(value, offset);
  if (tokens_++ >= limit_) return;
  encoding_.ids.push_back(id);
  encoding_.segments.push_back(segment_);
  encoding_.offsets.push_back(offset);
  encoding_.words.push_back(word_);
}

// Source: process_offsets of ByteLevel in tokenizers 0.23.
void TextReader::trim(std::string_view value, Offset& offset) const {
  Edges edges = whitespace_edges(value);
  const bool first = tokens_ == 0 || offset.begin == 0;
  if (first && pipeline_.settings.trim_keeps_prefix && edges.leading == 1) edges.leading = 0;
  offset.begin = std::min(offset.begin + edges.leading, offset.end);
  if (offset.end >= edges.trailing) {
    offset.end = std::max(offset.end - edges.trailing, offset.begin);
  }
}

void TextReader::add_added_token(const AddedToken& token, Offset offset, std::string_view value) {
  add_token(token.id, offset, value);
  next_word();
}

void TextReader::next_word() {
  if (counts_words_) ++word_;
  stopped_ = beyond_ == Beyond::stop && tokens_ > limit_;
}

}  // namespace rtai::text
