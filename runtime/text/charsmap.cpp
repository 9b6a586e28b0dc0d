#include "runtime/text/internal/charsmap.h"

#include "runtime/base/byte_stream.h"
#include "runtime/text/utf8.h"

#include <utility>

namespace rtai::text {
namespace {

// The fields of a unit of a Darts double array.
bool has_leaf(std::uint32_t unit) {
  return (unit >> 8 & 1) != 0;
}
std::uint32_t label(std::uint32_t unit) {
  return unit & (1u << 31 | 0xffu);
}
std::uint32_t offset(std::uint32_t unit) {
  return (unit >> 10) << ((unit & 1u << 9) >> 6);
}
std::uint32_t value(std::uint32_t unit) {
  return unit & ((1u << 31) - 1);
}

}  // namespace

Result<Charsmap> Charsmap::create(std::string_view bytes) {
  const auto malformed = [](const char* what) {
    return Error{ErrorCode::invalid_input, std::string("the precompiled charsmap ") + what};
  };
  ByteReader reader(std::as_bytes(std::span(bytes)));
  const Result<std::uint32_t> trie_bytes = reader.read<std::uint32_t>();
  if (!trie_bytes) return malformed("is too short");
  if (*trie_bytes == 0 || *trie_bytes % sizeof(std::uint32_t) != 0 ||
      *trie_bytes > reader.remaining()) {
    return malformed("does not hold the trie that it announces");
  }
  Charsmap map;
  map.units_.resize(*trie_bytes / sizeof(std::uint32_t));
  for (std::uint32_t& unit : map.units_) {
    RTAI_TRY(unit, reader.read<std::uint32_t>());
  }
  map.texts_ = bytes.substr(reader.position());
  if (!is_valid_utf8(map.texts_)) return malformed("is not UTF-8");
  map.has_rule_.resize(kKnown);
  std::string text;
  for (char32_t c = 0; c < kKnown; ++c) {
    text.clear();
    append_utf8(text, c);
    map.has_rule_[c] = map.find(text).has_value();
  }
  return map;
}

std::optional<std::string_view> Charsmap::find(std::string_view text) const {
  std::size_t node = offset(units_[0]);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0) break;
    node ^= byte;
    if (node >= units_.size() || label(units_[node]) != byte) return std::nullopt;
    const std::uint32_t unit = units_[node];
    node ^= offset(unit);
    if (!has_leaf(unit)) continue;
    if (node >= units_.size()) return std::nullopt;
    const std::size_t begin = value(units_[node]);
    if (begin > texts_.size()) return std::nullopt;
    return std::string_view(texts_).substr(begin, texts_.find('\0', begin) - begin);
  }
  return std::nullopt;
}

}  // namespace rtai::text
