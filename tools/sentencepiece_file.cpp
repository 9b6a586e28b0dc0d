#include "tools/sentencepiece_file.h"

#include "runtime/text/vocabulary.h"

#include <fmt/format.h>

#include <bit>
#include <optional>
#include <string_view>
#include <utility>

namespace rtai::tools {
namespace {

using PieceType = SentencePieceFile::PieceType;

Error malformed(std::string_view what) {
  return {ErrorCode::invalid_input, fmt::format("not a sentencepiece model: {}", what)};
}

/// A field of a message. Five of them are read here, which is no reason to depend on protobuf.
struct Field {
  enum class Wire : std::uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };
  std::uint32_t number = 0;
  Wire wire = Wire::varint;
  std::uint64_t value = 0;  // of varint and fixed32
  std::string_view bytes;

  bool is(std::uint32_t wanted, Wire form) const { return number == wanted && wire == form; }
};

class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  bool at_end() const { return rest_.empty(); }

  Result<Field> next() {
    RTAI_TRY(const std::uint64_t key, varint());
    Field field;
    field.number = static_cast<std::uint32_t>(key >> 3);
    field.wire = static_cast<Field::Wire>(key & 7);
    if (field.number == 0 || key >> 32 != 0) return malformed("a field without a number");
    switch (field.wire) {
      case Field::Wire::varint: {
        RTAI_TRY(field.value, varint());
        return field;
      }
      case Field::Wire::bytes: {
        RTAI_TRY(const std::uint64_t size, varint());
        RTAI_TRY(field.bytes, take(size));
        return field;
      }
      case Field::Wire::fixed64: {
        RTAI_TRY(field.bytes, take(sizeof(std::uint64_t)));
        return field;
      }
      case Field::Wire::fixed32: {
        RTAI_TRY(const std::string_view four, take(sizeof(std::uint32_t)));
        for (unsigned i = 0; i < four.size(); ++i)
          field.value |= std::uint64_t{static_cast<unsigned char>(four[i])} << 8 * i;
        return field;
      }
    }
    return malformed(fmt::format("a field of wire type {}", key & 7));
  }

 private:
  Result<std::string_view> take(std::uint64_t size) {
    if (size > rest_.size()) return malformed("it ends within a field");
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }

  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      RTAI_TRY(const std::string_view one, take(1));
      const auto byte = static_cast<unsigned char>(one[0]);
      value |= std::uint64_t{byte & 0x7fu} << shift;
      if (byte < 0x80) return value;
    }
    return malformed("a number longer than ten bytes");
  }

  std::string_view rest_;
};

Result<SentencePieceFile::Piece> read_piece(std::string_view bytes) {
  SentencePieceFile::Piece piece;
  for (WireReader reader(bytes); !reader.at_end();) {
    RTAI_TRY(const Field field, reader.next());
    if (field.is(1, Field::Wire::bytes)) piece.text = field.bytes;
    if (field.is(2, Field::Wire::fixed32))
      piece.score = std::bit_cast<float>(static_cast<std::uint32_t>(field.value));
    // Another value is one that this version of the format does not know, which counts as absent.
    if (field.is(3, Field::Wire::varint) && field.value >= 1 && field.value <= 6)
      piece.type = static_cast<PieceType>(field.value);
  }
  return piece;
}

Result<void> read_trainer(std::string_view bytes, SentencePieceFile& file) {
  for (WireReader reader(bytes); !reader.at_end();) {
    RTAI_TRY(const Field field, reader.next());
    if (field.is(3, Field::Wire::varint) && field.value >= 1 && field.value <= 4)
      file.algorithm = static_cast<SentencePieceFile::Algorithm>(field.value);
    if (field.is(40, Field::Wire::varint)) file.unknown_id = field.value;
  }
  return {};
}

Result<void> read_normalizer_rules(std::string_view bytes, SentencePieceFile& file) {
  for (WireReader reader(bytes); !reader.at_end();) {
    RTAI_TRY(const Field field, reader.next());
    if (field.is(2, Field::Wire::bytes)) file.charsmap = field.bytes;
  }
  return {};
}

}  // namespace

Result<SentencePieceFile> parse_sentencepiece(std::span<const std::byte> bytes) {
  SentencePieceFile file;
  WireReader reader({reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  while (!reader.at_end()) {
    RTAI_TRY(const Field field, reader.next());
    if (field.is(1, Field::Wire::bytes)) {
      if (file.pieces.size() == text::Vocabulary::kMaxPieces) {
        return malformed(fmt::format("more than {} pieces", text::Vocabulary::kMaxPieces));
      }
      RTAI_TRY(SentencePieceFile::Piece piece, read_piece(field.bytes));
      file.pieces.push_back(std::move(piece));
    }
    if (field.is(2, Field::Wire::bytes)) RTAI_TRY_VOID(read_trainer(field.bytes, file));
    if (field.is(3, Field::Wire::bytes)) RTAI_TRY_VOID(read_normalizer_rules(field.bytes, file));
  }
  if (file.pieces.empty()) return malformed("it has no pieces");
  if (file.unknown_id >= file.pieces.size()) {
    return malformed(fmt::format("expected an unknown piece below {}, found {}", file.pieces.size(),
                                 file.unknown_id));
  }
  return file;
}

}  // namespace rtai::tools
