// The tokenizer inside an engine file.
//
// All numbers little-endian; a string is its length, u32, and its bytes.
//
//   u32     magic "RTWP"
//   u32     version, 1
//   u8      normalizer: 1 clean_text, 2 handle_chinese_chars, 4 strip_accents, 8 lowercase
//   u32     max_chars_per_word
//   u32     max_length in tokens, 0: none
//   string  unknown, class_token, separator, pad, mask, continuation
//   u32     added tokens; each: string content, u32 id,
//           u8 1 special, 2 single_word, 4 lstrip, 8 rstrip, 16 normalized
//   u32     pieces
//   u8      length of each piece in bytes; 255: longer, see next
//   u32     long pieces; each: u32 id, ascending, u32 length in bytes
//           the bytes of all pieces, to the end
#include "runtime/base/byte_stream.h"
#include "runtime/text/tokenizer.h"

#include <algorithm>
#include <limits>
#include <string>
#include <utility>

namespace rtai::text {
namespace {

constexpr std::uint32_t kMagic = 0x50575452;  // "RTWP" as bytes
constexpr std::uint32_t kVersion = 1;
constexpr std::uint8_t kLong = 255;
constexpr std::size_t kSmallestAddedToken = 9;  // bytes of one without content

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

Result<WordPieceSettings> read_settings(ByteReader& reader) {
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
  RTAI_TRY(const std::uint32_t count, reader.read_count(kSmallestAddedToken));
  for (std::uint32_t i = 0; i < count; ++i) {
    RTAI_TRY(AddedToken token, read_added_token(reader));
    settings.added_tokens.push_back(std::move(token));
  }
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

}  // namespace

std::vector<std::byte> Tokenizer::serialize() const {
  const WordPieceSettings& s = settings_;
  ByteWriter writer;
  writer.write(kMagic);
  writer.write(kVersion);
  writer.write(pack({s.clean_text, s.handle_chinese_chars, s.strip_accents, s.lowercase}));
  writer.write(static_cast<std::uint32_t>(s.max_chars_per_word));
  writer.write(static_cast<std::uint32_t>(s.max_length));
  for (const std::string* text :
       {&s.unknown, &s.class_token, &s.separator, &s.pad, &s.mask, &s.continuation}) {
    writer.write_string(*text);
  }
  writer.write(static_cast<std::uint32_t>(s.added_tokens.size()));
  for (const AddedToken& token : s.added_tokens) {
    writer.write_string(token.content);
    writer.write(static_cast<std::uint32_t>(token.id));
    writer.write(
        pack({token.special, token.single_word, token.lstrip, token.rstrip, token.normalized}));
  }

  std::vector<std::uint32_t> long_ids;
  writer.write(static_cast<std::uint32_t>(vocabulary_.size()));
  for (std::size_t id = 0; id < vocabulary_.size(); ++id) {
    const std::size_t size = vocabulary_.piece(id).size();
    if (size >= kLong) long_ids.push_back(static_cast<std::uint32_t>(id));
    writer.write(static_cast<std::uint8_t>(std::min<std::size_t>(size, kLong)));
  }
  writer.write(static_cast<std::uint32_t>(long_ids.size()));
  for (const std::uint32_t id : long_ids) {
    writer.write(id);
    writer.write(static_cast<std::uint32_t>(vocabulary_.piece(id).size()));
  }
  writer.append(std::as_bytes(std::span(vocabulary_.text())));
  return std::move(writer.bytes());
}

Result<Tokenizer> Tokenizer::deserialize(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  RTAI_TRY(const std::uint32_t magic, reader.read<std::uint32_t>());
  if (magic != kMagic) return corrupt("not a tokenizer: it begins differently");
  RTAI_TRY(const std::uint32_t version, reader.read<std::uint32_t>());
  if (version != kVersion) {
    return corrupt("expected version " + std::to_string(kVersion) + ", found " +
                   std::to_string(version));
  }
  RTAI_TRY(WordPieceSettings settings, read_settings(reader));
  RTAI_TRY(std::vector<std::uint32_t> ends, read_piece_ends(reader));
  RTAI_TRY(const auto text, reader.take(reader.remaining()));
  auto vocabulary =
      Vocabulary::create(std::string(reinterpret_cast<const char*>(text.data()), text.size()),
                         std::move(ends), settings.continuation);
  if (!vocabulary) return corrupt(vocabulary.error().message());
  auto tokenizer = assemble(*std::move(vocabulary), std::move(settings));
  if (!tokenizer) return corrupt(tokenizer.error().message());
  return tokenizer;
}

}  // namespace rtai::text
