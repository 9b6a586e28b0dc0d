#include "runtime/text/tokenizer.h"

#include "runtime/text/internal/pipeline.h"
#include "runtime/text/internal/text_reader.h"
#include "runtime/text/utf8.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

namespace rtai::text {
namespace {

std::size_t frame_tokens(const std::vector<FrameStep>& frame) {
  return static_cast<std::size_t>(std::count_if(
      frame.begin(), frame.end(), [](const FrameStep& step) { return step.id >= 0; }));
}

// What max_length leaves for texts.
std::size_t budget(const TokenizerSettings& settings, const std::vector<FrameStep>& frame) {
  if (settings.max_length == 0) return TextReader::kNoLimit;
  return static_cast<std::size_t>(settings.max_length) - frame_tokens(frame);
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
  encoding.segments.reserve(tokens);
  encoding.offsets.reserve(tokens);
  encoding.words.reserve(tokens);
}

void add_frame_token(Encoding& encoding, const FrameStep& step) {
  encoding.ids.push_back(step.id);
  encoding.segments.push_back(step.segment);
  encoding.offsets.push_back({});
  encoding.words.push_back(-1);
}

void erase_tokens(Encoding& encoding, std::size_t begin, std::size_t end) {
  const auto erase = [=](auto& values) {
    values.erase(values.begin() + static_cast<std::ptrdiff_t>(begin),
                 values.begin() + static_cast<std::ptrdiff_t>(end));
  };
  erase(encoding.ids);
  erase(encoding.segments);
  erase(encoding.offsets);
  erase(encoding.words);
}

// Places in a text are counted in 32 bits.
std::string_view readable(std::string_view text, Encoding& encoding) {
  constexpr std::size_t kMaxBytes = std::numeric_limits<std::uint32_t>::max() - 1;
  encoding.truncated |= text.size() > kMaxBytes;
  return text.substr(0, kMaxBytes);
}

Result<void> check_text(std::string_view text) {
  if (text.size() <= Vocabulary::kMaxPieceBytes && is_valid_utf8(text)) return {};
  return invalid_input("expected special tokens in UTF-8 of at most " +
                       std::to_string(Vocabulary::kMaxPieceBytes) + " bytes");
}

Result<void> check_max_length(const TokenizerSettings& settings) {
  const std::size_t least = std::max(frame_tokens(settings.single), frame_tokens(settings.pair));
  const std::int32_t length = settings.max_length;
  if (length == 0 || (length > 0 && static_cast<std::size_t>(length) >= least)) return {};
  return invalid_input("expected a length limit of 0 (none) or at least " + std::to_string(least) +
                       " tokens, found " + std::to_string(length));
}

// `texts` is 1 or 2; a frame holds each of them once, in their order.
Result<void> check_frame(const std::vector<FrameStep>& frame,
                         std::size_t texts,
                         std::int32_t limit) {
  std::vector<std::int32_t> found;
  for (const FrameStep& step : frame) {
    if (step.id < 0) found.push_back(step.id);
    if (step.id >= limit || step.id < FrameStep::kSecond || step.segment < 0) {
      return invalid_input("the frame around a text holds id " + std::to_string(step.id) +
                           ", which is no token");
    }
  }
  const std::vector<std::int32_t> all = {FrameStep::kFirst, FrameStep::kSecond};
  if (found.size() == texts && std::equal(found.begin(), found.end(), all.begin())) return {};
  return invalid_input("the frame does not hold each text once and in order");
}

Result<std::int32_t> check_added_tokens(const std::vector<AddedToken>& tokens,
                                        const Vocabulary& vocabulary) {
  std::set<std::string_view> contents;
  std::set<std::int32_t> ids;
  auto id_limit = static_cast<std::int32_t>(vocabulary.size());
  for (const AddedToken& token : tokens) {
    const std::string named = "added token '" + token.content + "'";
    const std::size_t size = token.content.size();
    if (size == 0 || size > Vocabulary::kMaxPieceBytes || !is_valid_utf8(token.content)) {
      return invalid_input("added token with id " + std::to_string(token.id) +
                           ": expected UTF-8 text of 1 to " +
                           std::to_string(Vocabulary::kMaxPieceBytes) + " bytes");
    }
    if (!contents.insert(token.content).second) return invalid_input(named + " appears twice");
    if (!ids.insert(token.id).second) {
      return invalid_input(named + ": id " + std::to_string(token.id) + " is taken by another one");
    }
    const auto in_vocabulary = vocabulary.find(token.content);
    if (in_vocabulary && *in_vocabulary != token.id) {
      return invalid_input(named + ": expected id " + std::to_string(*in_vocabulary) +
                           " as in the vocabulary, found " + std::to_string(token.id));
    }
    const auto id = static_cast<std::size_t>(token.id);
    const bool taken = !in_vocabulary && id < vocabulary.size() && !vocabulary.piece(id).empty();
    if (token.id < 0 || token.id == std::numeric_limits<std::int32_t>::max() || taken) {
      return invalid_input(named + ": id " + std::to_string(token.id) +
                           " is taken or out of range");
    }
    id_limit = std::max(id_limit, token.id + 1);
  }
  return id_limit;
}

void prepare_added_tokens(Pipeline& pipeline) {
  std::vector<PatternFinder::Pattern> raw;
  std::vector<PatternFinder::Pattern> in_normalized;
  bool may_cut = true;
  for (std::size_t i = 0; i < pipeline.settings.added_tokens.size(); ++i) {
    const AddedToken& token = pipeline.settings.added_tokens[i];
    if (!token.normalized) {
      raw.push_back({token.content, i});
      continue;
    }
    std::string content = pipeline.normalizer.run(token.content);
    // It could lie across a cut, or look across one.
    const bool crosses = content.find(' ') != content.npos || token.lstrip || token.rstrip;
    may_cut &= !crosses;
    in_normalized.push_back({std::move(content), i});
  }
  const bool plain = in_normalized.empty() && !pipeline.normalizer.has_patterns();
  pipeline.cuts = {
      .before_spaces = may_cut && pipeline.splitter.splits_before_space(),
      .after_punctuation = plain && pipeline.splitter.splits_at_punctuation(),
      .between_chinese = plain && pipeline.splitter.drops_spaces() &&
                         pipeline.settings.normalizes(NormalizerStep::Kind::separate_chinese)};
  pipeline.raw_tokens = PatternFinder(std::move(raw));
  pipeline.normalized_tokens = PatternFinder(std::move(in_normalized));
}

std::optional<std::int32_t> find_token(const std::vector<AddedToken>& added,
                                       const Vocabulary& vocabulary,
                                       std::string_view token) {
  for (const AddedToken& candidate : added) {
    if (candidate.content == token) return candidate.id;
  }
  return vocabulary.find(token);
}

Result<Vocabulary> make_vocabulary(std::span<const std::string> pieces,
                                   std::string_view continuation) {
  std::string text;
  std::vector<std::uint32_t> ends;
  ends.reserve(pieces.size());
  for (const std::string& piece : pieces) {
    text += piece;
    if (text.size() > std::numeric_limits<std::uint32_t>::max()) {
      return invalid_input("the vocabulary is larger than 4 GiB");
    }
    ends.push_back(static_cast<std::uint32_t>(text.size()));
  }
  return Vocabulary::create(std::move(text), std::move(ends), continuation);
}

}  // namespace

Tokenizer::Tokenizer(std::unique_ptr<Pipeline> pipeline) : pipeline_(std::move(pipeline)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

Result<Tokenizer> Tokenizer::create(std::span<const std::string> vocabulary,
                                    TokenizerSettings settings) {
  RTAI_TRY(Vocabulary pieces, make_vocabulary(vocabulary, settings.model.continuation));
  return assemble(std::move(pieces), std::move(settings));
}

Result<Tokenizer> Tokenizer::create(std::span<const std::string> vocabulary,
                                    WordPieceSettings settings) {
  RTAI_TRY(Vocabulary pieces, make_vocabulary(vocabulary, settings.continuation));
  return assemble(std::move(pieces), std::move(settings));
}

Result<Tokenizer> Tokenizer::assemble(Vocabulary vocabulary, WordPieceSettings settings) {
  RTAI_TRY_VOID(check_text(settings.class_token));
  RTAI_TRY_VOID(check_text(settings.separator));
  const auto require = [&](const std::string& token) -> Result<std::int32_t> {
    if (const auto id = find_token(settings.added_tokens, vocabulary, token)) return *id;
    return invalid_input("special token '" + token + "' is not in the vocabulary");
  };
  RTAI_TRY_VOID(check_added_tokens(settings.added_tokens, vocabulary));
  RTAI_TRY(const std::int32_t cls, require(settings.class_token));
  RTAI_TRY(const std::int32_t sep, require(settings.separator));
  TokenizerSettings general;
  general.normalizer = bert_normalizer(settings.clean_text, settings.handle_chinese_chars,
                                       settings.strip_accents, settings.lowercase);
  general.splitter = bert_splitter();
  general.model = {.kind = ModelSettings::Kind::word_piece,
                   .unknown = std::move(settings.unknown),
                   .continuation = std::move(settings.continuation),
                   .max_chars_per_word = settings.max_chars_per_word};
  general.single = {{cls, 0}, {FrameStep::kFirst, 0}, {sep, 0}};
  general.pair = general.single;
  general.pair.insert(general.pair.end(), {{FrameStep::kSecond, 1}, {sep, 1}});
  general.added_tokens = std::move(settings.added_tokens);
  general.pad = std::move(settings.pad);
  general.mask = std::move(settings.mask);
  general.max_length = settings.max_length;
  return assemble(std::move(vocabulary), std::move(general));
}

Result<Tokenizer> Tokenizer::assemble(Vocabulary vocabulary, TokenizerSettings settings) {
  auto pipeline = std::make_unique<Pipeline>();
  for (const std::string* text :
       {&settings.model.unknown, &settings.model.continuation, &settings.pad, &settings.mask}) {
    RTAI_TRY_VOID(check_text(*text));
  }
  RTAI_TRY(pipeline->id_limit, check_added_tokens(settings.added_tokens, vocabulary));
  RTAI_TRY_VOID(check_frame(settings.single, 1, pipeline->id_limit));
  RTAI_TRY_VOID(check_frame(settings.pair, 2, pipeline->id_limit));
  RTAI_TRY_VOID(check_max_length(settings));
  RTAI_TRY(pipeline->normalizer, Normalizer::create(settings.normalizer));
  RTAI_TRY(pipeline->splitter, Splitter::create(settings.splitter));
  RTAI_TRY(pipeline->model, make_model(vocabulary, settings.model));
  pipeline->class_id = std::max(settings.single.front().id, Vocabulary::kNone);
  pipeline->separator_id = std::max(settings.single.back().id, Vocabulary::kNone);
  pipeline->vocabulary = std::move(vocabulary);
  pipeline->settings = std::move(settings);
  prepare_added_tokens(*pipeline);
  return Tokenizer(std::move(pipeline));
}

Result<void> Tokenizer::set_max_length(std::int32_t tokens) {
  const std::int32_t before = std::exchange(pipeline_->settings.max_length, tokens);
  Result<void> checked = check_max_length(pipeline_->settings);
  if (!checked) pipeline_->settings.max_length = before;
  return checked;
}

const TokenizerSettings& Tokenizer::settings() const {
  return pipeline_->settings;
}
const Vocabulary& Tokenizer::vocabulary() const {
  return pipeline_->vocabulary;
}
std::int32_t Tokenizer::class_id() const {
  return pipeline_->class_id;
}
std::int32_t Tokenizer::separator_id() const {
  return pipeline_->separator_id;
}
std::int32_t Tokenizer::id_limit() const {
  return pipeline_->id_limit;
}

std::optional<std::int32_t> Tokenizer::id_of(std::string_view token) const {
  return find_token(settings().added_tokens, vocabulary(), token);
}

std::string_view Tokenizer::token(std::int32_t id) const {
  for (const AddedToken& added : settings().added_tokens) {
    if (added.id == id) return added.content;
  }
  const bool is_piece = id >= 0 && static_cast<std::size_t>(id) < vocabulary().size();
  return is_piece ? vocabulary().piece(static_cast<std::size_t>(id)) : std::string_view();
}

Encoding Tokenizer::encode(std::string_view text) const {
  Encoding encoding;
  const std::size_t room = budget(settings(), settings().single);
  reserve(encoding, text.size(), room);
  for (const FrameStep& step : settings().single) {
    if (step.id >= 0) {
      add_frame_token(encoding, step);
      continue;
    }
    TextReader reader(*pipeline_, encoding, step.segment, room, TextReader::Beyond::stop);
    reader.read(readable(text, encoding));
    encoding.truncated |= reader.has_stopped();
  }
  return encoding;
}

Encoding Tokenizer::encode_words(std::span<const std::string> words) const {
  Encoding encoding;
  for (const FrameStep& step : settings().single) {
    if (step.id >= 0) {
      add_frame_token(encoding, step);
      continue;
    }
    TextReader reader(*pipeline_, encoding, step.segment, budget(settings(), settings().single),
                      TextReader::Beyond::stop);
    for (std::size_t i = 0; i < words.size() && !reader.has_stopped(); ++i) {
      reader.read_word(readable(words[i], encoding), static_cast<std::int32_t>(i));
    }
    encoding.truncated |= reader.has_stopped();
  }
  return encoding;
}

Encoding Tokenizer::encode_pair(std::string_view first, std::string_view second) const {
  struct Part {
    std::size_t begin = 0;  // of its tokens in the encoding
    std::size_t end = 0;
    std::size_t tokens = 0;  // also those beyond the limit
  };
  Encoding encoding;
  const std::size_t room = budget(settings(), settings().pair);
  Part parts[2];
  for (const FrameStep& step : settings().pair) {
    if (step.id >= 0) {
      add_frame_token(encoding, step);
      continue;
    }
    const bool is_first = step.id == FrameStep::kFirst;
    Part& part = parts[is_first ? 0 : 1];
    part.begin = encoding.ids.size();
    // Which of the texts is the longer one decides, so both are counted to the end.
    TextReader reader(*pipeline_, encoding, step.segment, room, TextReader::Beyond::count);
    reader.read(readable(is_first ? first : second, encoding));
    part.end = encoding.ids.size();
    part.tokens = reader.tokens();
  }
  const PairLengths all{parts[0].tokens, parts[1].tokens};
  const PairLengths kept = shorten_longest_first(all, room);
  encoding.truncated |= kept.first < all.first || kept.second < all.second;
  erase_tokens(encoding, parts[1].begin + kept.second, parts[1].end);
  erase_tokens(encoding, parts[0].begin + kept.first, parts[0].end);
  return encoding;
}

}  // namespace rtai::text
