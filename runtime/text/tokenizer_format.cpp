// The tokenizer inside an engine file.
//
// All numbers little-endian; a string is its length, u32, and its bytes; a list is its length, u32,
// and its elements. Enumerations are those of tokenizer_settings.h.
//
//   u32     magic "RTWP"
//   u32     version, 2
//   u32     max_length in tokens, 0: none
//   u8      1 trim_offsets, 2 trim_keeps_prefix
//   string  pad, mask
//   list    added tokens: string content, u32 id,
//           u8 1 special, 2 single_word, 4 lstrip, 8 rstrip, 16 normalized
//   list    normalizer: u8 kind, string pattern, text
//   list    splitter: u8 prefix, pattern, delimiter, 1 invert; string space, literal
//   list    frame of one text, of two: i32 id, u32 segment
//   u8      kind of model
//   u8      1 byte_level, 2 fuse_unknown, 4 ignore_merges, 8 byte_fallback
//   u32     max_chars_per_word
//   string  unknown, continuation
//   list    merges: u32 left, right
//   list    scores: f64
//   u32     pieces
//   u8      length of each piece in bytes; 255: longer, see next
//   u32     long pieces; each: u32 id, ascending, u32 length in bytes
//           the bytes of all pieces, to the end
//
// Version 1 knew BERT's WordPiece only. After the version: u8 1 clean_text, 2 handle_chinese_chars,
// 4 strip_accents, 8 lowercase; u32 max_chars_per_word, max_length; string unknown, class_token,
// separator, pad, mask, continuation; the added tokens; the pieces.
#include "runtime/base/byte_stream.h"
#include "runtime/text/internal/pipeline.h"
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace rtai::text {
namespace {

constexpr std::uint32_t kMagic = 0x50575452;  // "RTWP" as bytes
constexpr std::uint32_t kVersion = 2;
constexpr std::uint8_t kLong = 255;
// Bytes of a list's elements without their strings' contents.
constexpr std::size_t kSmallestAddedToken = 9;
constexpr std::size_t kSmallestNormalizerStep = 9;
constexpr std::size_t kSmallestSplitterStep = 12;
constexpr std::size_t kFrameStep = 8;
constexpr std::size_t kMerge = 8;
constexpr std::size_t kScore = 8;
constexpr std::size_t kMaxStepText = 1u << 24;  // sentencepiece's rules take some 300 kB

Error corrupt(std::string what) {
  return {ErrorCode::corrupt, std::move(what)};
}

// Flags in the order of their bits.
std::uint8_t pack(std::initializer_list<bool> flags) {
  unsigned packed = 0;
  for (unsigned bit = 1; const bool flag : flags) {
    packed |= flag ? bit : 0;
    bit <<= 1;
  }
  return static_cast<std::uint8_t>(packed);
}

Result<void> unpack(std::uint8_t packed, std::initializer_list<bool*> flags) {
  for (bool* flag : flags) {
    *flag = (packed & 1) != 0;
    packed = static_cast<std::uint8_t>(packed >> 1);
  }
  if (packed != 0) return corrupt("unknown flags are set");
  return {};
}

// For the numbers that the settings hold as signed ones.
Result<std::int32_t> read_positive(ByteReader& reader) {
  RTAI_TRY(const std::uint32_t value, reader.read<std::uint32_t>());
  if (value > std::numeric_limits<std::int32_t>::max()) return corrupt("a number is out of range");
  return static_cast<std::int32_t>(value);
}

Result<AddedToken> read_added_token(ByteReader& reader) {
  AddedToken token;
  RTAI_TRY(token.content, reader.read_string(Vocabulary::kMaxPieceBytes));
  RTAI_TRY(token.id, read_positive(reader));
  RTAI_TRY(const std::uint8_t flags, reader.read<std::uint8_t>());
  RTAI_TRY_VOID(unpack(flags, {&token.special, &token.single_word, &token.lstrip, &token.rstrip,
                               &token.normalized}));
  return token;
}

/// An enumerator up to `last`.
template <class Enum>
Result<Enum> read_enum(ByteReader& reader, Enum last) {
  RTAI_TRY(const std::uint8_t value, reader.read<std::uint8_t>());
  if (value > static_cast<std::uint8_t>(last)) return corrupt("a kind is unknown");
  return static_cast<Enum>(value);
}

/// A list whose elements are what `read_one` gives.
template <class Element, class ReadOne>
Result<std::vector<Element>> read_list(ByteReader& reader, std::size_t smallest, ReadOne read_one) {
  RTAI_TRY(const std::uint32_t count, reader.read_count(smallest));
  std::vector<Element> list;
  list.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    RTAI_TRY(Element element, read_one(reader));
    list.push_back(std::move(element));
  }
  return list;
}

Result<NormalizerStep> read_normalizer_step(ByteReader& reader) {
  NormalizerStep step{};
  RTAI_TRY(step.kind, read_enum(reader, NormalizerStep::Kind::join_whitespace));
  RTAI_TRY(step.pattern, reader.read_string(Vocabulary::kMaxPieceBytes));
  RTAI_TRY(step.text, reader.read_string(kMaxStepText));
  return step;
}

Result<SplitterStep> read_splitter_step(ByteReader& reader) {
  SplitterStep step;
  RTAI_TRY(step.prefix, read_enum(reader, SplitterStep::Prefix::always));
  RTAI_TRY(step.pattern, read_enum(reader, SplitterStep::Pattern::literal));
  RTAI_TRY(step.delimiter, read_enum(reader, SplitterStep::Delimiter::contiguous));
  RTAI_TRY(const std::uint8_t flags, reader.read<std::uint8_t>());
  RTAI_TRY_VOID(unpack(flags, {&step.invert}));
  RTAI_TRY(step.space, reader.read_string(Vocabulary::kMaxPieceBytes));
  RTAI_TRY(step.literal, reader.read_string(Vocabulary::kMaxPieceBytes));
  return step;
}

Result<FrameStep> read_frame_step(ByteReader& reader) {
  FrameStep step;
  RTAI_TRY(step.id, reader.read<std::int32_t>());
  RTAI_TRY(step.segment, read_positive(reader));
  return step;
}

Result<std::pair<std::int32_t, std::int32_t>> read_merge(ByteReader& reader) {
  std::pair<std::int32_t, std::int32_t> merge;
  RTAI_TRY(merge.first, read_positive(reader));
  RTAI_TRY(merge.second, read_positive(reader));
  return merge;
}

Result<ModelSettings> read_model(ByteReader& reader) {
  ModelSettings model;
  RTAI_TRY(model.kind, read_enum(reader, ModelSettings::Kind::unigram));
  RTAI_TRY(const std::uint8_t flags, reader.read<std::uint8_t>());
  RTAI_TRY_VOID(unpack(
      flags, {&model.byte_level, &model.fuse_unknown, &model.ignore_merges, &model.byte_fallback}));
  RTAI_TRY(model.max_chars_per_word, read_positive(reader));
  RTAI_TRY(model.unknown, reader.read_string(Vocabulary::kMaxPieceBytes));
  RTAI_TRY(model.continuation, reader.read_string(Vocabulary::kMaxPieceBytes));
  using Merge = std::pair<std::int32_t, std::int32_t>;
  RTAI_TRY(model.merges, read_list<Merge>(reader, kMerge, read_merge));
  RTAI_TRY(model.scores, read_list<double>(reader, kScore, [](ByteReader& source) {
             return source.read<double>();
           }));
  return model;
}

Result<TokenizerSettings> read_settings(ByteReader& reader) {
  TokenizerSettings settings;
  RTAI_TRY(settings.max_length, read_positive(reader));
  RTAI_TRY(const std::uint8_t flags, reader.read<std::uint8_t>());
  RTAI_TRY_VOID(unpack(flags, {&settings.trim_offsets, &settings.trim_keeps_prefix}));
  RTAI_TRY(settings.pad, reader.read_string(Vocabulary::kMaxPieceBytes));
  RTAI_TRY(settings.mask, reader.read_string(Vocabulary::kMaxPieceBytes));
  RTAI_TRY(settings.added_tokens,
           read_list<AddedToken>(reader, kSmallestAddedToken, read_added_token));
  RTAI_TRY(settings.normalizer,
           read_list<NormalizerStep>(reader, kSmallestNormalizerStep, read_normalizer_step));
  RTAI_TRY(settings.splitter,
           read_list<SplitterStep>(reader, kSmallestSplitterStep, read_splitter_step));
  RTAI_TRY(settings.single, read_list<FrameStep>(reader, kFrameStep, read_frame_step));
  RTAI_TRY(settings.pair, read_list<FrameStep>(reader, kFrameStep, read_frame_step));
  RTAI_TRY(settings.model, read_model(reader));
  return settings;
}

Result<WordPieceSettings> read_word_piece_settings(ByteReader& reader) {
  WordPieceSettings settings;
  RTAI_TRY(const std::uint8_t flags, reader.read<std::uint8_t>());
  RTAI_TRY_VOID(unpack(flags, {&settings.clean_text, &settings.handle_chinese_chars,
                               &settings.strip_accents, &settings.lowercase}));
  RTAI_TRY(settings.max_chars_per_word, read_positive(reader));
  RTAI_TRY(settings.max_length, read_positive(reader));
  for (std::string* text : {&settings.unknown, &settings.class_token, &settings.separator,
                            &settings.pad, &settings.mask, &settings.continuation}) {
    RTAI_TRY(*text, reader.read_string(Vocabulary::kMaxPieceBytes));
  }
  RTAI_TRY(settings.added_tokens,
           read_list<AddedToken>(reader, kSmallestAddedToken, read_added_token));
  return settings;
}

Result<std::vector<std::uint32_t>> read_piece_ends(ByteReader& reader) {
  RTAI_TRY(const std::uint32_t count, reader.read<std::uint32_t>());
  if (count > Vocabulary::kMaxPieces) return corrupt("too many pieces");
  RTAI_TRY(const auto lengths, reader.take(count));
  RTAI_TRY(const std::uint32_t long_count, reader.read<std::uint32_t>());
  std::vector<std::uint32_t> ends(count);
  std::uint64_t end = 0;
  std::uint32_t long_left = long_count;
  for (std::uint32_t id = 0; id < count; ++id) {
    std::uint32_t length = std::to_integer<std::uint32_t>(lengths[id]);
    if (length == kLong) {
      if (long_left-- == 0) return corrupt("more long pieces than announced");
      RTAI_TRY(const std::uint32_t long_id, reader.read<std::uint32_t>());
      RTAI_TRY(length, reader.read<std::uint32_t>());
      if (long_id != id || length < kLong) return corrupt("the long pieces are not in order");
    }
    end += length;
    if (end > reader.remaining()) return corrupt("the pieces do not fit");
    ends[id] = static_cast<std::uint32_t>(end);
  }
  if (long_left != 0) return corrupt("fewer long pieces than announced");
  if (end != reader.remaining()) return corrupt("bytes are left after the pieces");
  return ends;
}

Result<Vocabulary> read_vocabulary(ByteReader& reader, std::string_view continuation) {
  RTAI_TRY(std::vector<std::uint32_t> ends, read_piece_ends(reader));
  RTAI_TRY(const auto text, reader.take(reader.remaining()));
  return Vocabulary::create(std::string(reinterpret_cast<const char*>(text.data()), text.size()),
                            std::move(ends), continuation);
}

template <class List, class WriteOne>
void write_list(ByteWriter& writer, const List& list, WriteOne write_one) {
  writer.write(static_cast<std::uint32_t>(list.size()));
  for (const auto& element : list)
    write_one(element);
}

void write_settings(ByteWriter& writer, const TokenizerSettings& s) {
  writer.write(static_cast<std::uint32_t>(s.max_length));
  writer.write(pack({s.trim_offsets, s.trim_keeps_prefix}));
  writer.write_string(s.pad);
  writer.write_string(s.mask);
  write_list(writer, s.added_tokens, [&](const AddedToken& token) {
    writer.write_string(token.content);
    writer.write(static_cast<std::uint32_t>(token.id));
    writer.write(
        pack({token.special, token.single_word, token.lstrip, token.rstrip, token.normalized}));
  });
  write_list(writer, s.normalizer, [&](const NormalizerStep& step) {
    writer.write(step.kind);
    writer.write_string(step.pattern);
    writer.write_string(step.text);
  });
  write_list(writer, s.splitter, [&](const SplitterStep& step) {
    writer.write(step.prefix);
    writer.write(step.pattern);
    writer.write(step.delimiter);
    writer.write(pack({step.invert}));
    writer.write_string(step.space);
    writer.write_string(step.literal);
  });
  for (const std::vector<FrameStep>* frame : {&s.single, &s.pair}) {
    write_list(writer, *frame, [&](const FrameStep& step) {
      writer.write(step.id);
      writer.write(static_cast<std::uint32_t>(step.segment));
    });
  }
}

void write_model(ByteWriter& writer, const ModelSettings& model) {
  writer.write(model.kind);
  writer.write(
      pack({model.byte_level, model.fuse_unknown, model.ignore_merges, model.byte_fallback}));
  writer.write(static_cast<std::uint32_t>(model.max_chars_per_word));
  writer.write_string(model.unknown);
  writer.write_string(model.continuation);
  write_list(writer, model.merges, [&](const auto& merge) {
    writer.write(static_cast<std::uint32_t>(merge.first));
    writer.write(static_cast<std::uint32_t>(merge.second));
  });
  write_list(writer, model.scores, [&](double score) { writer.write(score); });
}

void write_vocabulary(ByteWriter& writer, const Vocabulary& vocabulary) {
  std::vector<std::uint32_t> long_ids;
  writer.write(static_cast<std::uint32_t>(vocabulary.size()));
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const std::size_t size = vocabulary.piece(id).size();
    if (size >= kLong) long_ids.push_back(static_cast<std::uint32_t>(id));
    writer.write(static_cast<std::uint8_t>(std::min<std::size_t>(size, kLong)));
  }
  writer.write(static_cast<std::uint32_t>(long_ids.size()));
  for (const std::uint32_t id : long_ids) {
    writer.write(id);
    writer.write(static_cast<std::uint32_t>(vocabulary.piece(id).size()));
  }
  writer.append(std::as_bytes(std::span(vocabulary.text())));
}

}  // namespace

std::vector<std::byte> Tokenizer::serialize() const {
  ByteWriter writer;
  writer.write(kMagic);
  writer.write(kVersion);
  write_settings(writer, settings());
  write_model(writer, settings().model);
  write_vocabulary(writer, vocabulary());
  return std::move(writer.bytes());
}

Result<Tokenizer> Tokenizer::read_word_piece(ByteReader& reader) {
  RTAI_TRY(WordPieceSettings settings, read_word_piece_settings(reader));
  RTAI_TRY(Vocabulary vocabulary, read_vocabulary(reader, settings.continuation));
  return assemble(std::move(vocabulary), std::move(settings));
}

Result<Tokenizer> Tokenizer::read_any(ByteReader& reader) {
  RTAI_TRY(TokenizerSettings settings, read_settings(reader));
  RTAI_TRY(Vocabulary vocabulary, read_vocabulary(reader, settings.model.continuation));
  return assemble(std::move(vocabulary), std::move(settings));
}

Result<Tokenizer> Tokenizer::deserialize(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  RTAI_TRY(const std::uint32_t magic, reader.read<std::uint32_t>());
  if (magic != kMagic) return corrupt("not a tokenizer: it begins differently");
  RTAI_TRY(const std::uint32_t version, reader.read<std::uint32_t>());
  if (version < 1 || version > kVersion) {
    return corrupt("expected version 1 to " + std::to_string(kVersion) + ", found " +
                   std::to_string(version));
  }
  auto tokenizer = version == 1 ? read_word_piece(reader) : read_any(reader);
  if (!tokenizer) return corrupt(tokenizer.error().message());
  return tokenizer;
}

}  // namespace rtai::text
