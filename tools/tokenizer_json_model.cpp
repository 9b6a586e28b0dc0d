// model: the vocabulary and how a word becomes pieces of it.
#include "tools/internal/tokenizer_json_parts.h"
#include "tools/internal/tokenizer_side_files.h"
#include "tools/json.h"
#include "tools/json_file.h"
#include "tools/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using nlohmann::json;
using text::ModelSettings;
using text::Vocabulary;

// An option that rtai can do only when it is off.
Result<void> expect_off(const JsonValue& option) {
  if (!option.exists()) return {};
  const json& value = option.raw();
  const bool off = value == false || value == 0 || value == "";
  if (off) return {};
  return unsupported(
      fmt::format("tokenizer option {} = {} is not supported", option.place(), one_line(value)));
}

Result<std::vector<std::string>> read_vocabulary(const JsonValue& vocab) {
  RTAI_TRY_VOID(vocab.expect_object());
  std::int32_t largest = -1;
  for (const auto& [piece, id] : vocab.raw().items()) {
    RTAI_TRY(const std::int32_t value, JsonValue(&id, vocab.place() + "." + piece).count());
    largest = std::max(largest, value);
  }
  // Files have small gaps; a large one would only make us allocate.
  const std::size_t limit = std::min(2 * vocab.raw().size() + 65'536, Vocabulary::kMaxPieces);
  if (largest >= 0 && static_cast<std::size_t>(largest) >= limit) {
    return invalid_input(fmt::format("{}: id {} is too large for {} pieces", vocab.place(), largest,
                                     vocab.raw().size()));
  }
  std::vector<std::string> pieces(static_cast<std::size_t>(largest + 1));
  for (const auto& [piece, id] : vocab.raw().items()) {
    std::string& place = pieces[id.get<std::size_t>()];
    if (!place.empty()) {
      return invalid_input(fmt::format("{}: id {} belongs to '{}' and to '{}'", vocab.place(),
                                       id.get<std::size_t>(), place, piece));
    }
    place = piece;
  }
  return pieces;
}

Result<std::vector<std::string>> read_word_piece(const JsonValue& model, ModelSettings& settings) {
  settings.kind = ModelSettings::Kind::word_piece;
  RTAI_TRY(settings.unknown, model["unk_token"].string_or("[UNK]"));
  RTAI_TRY(settings.continuation, model["continuing_subword_prefix"].string_or("##"));
  if (const JsonValue limit = model["max_input_chars_per_word"]; limit.exists()) {
    RTAI_TRY(settings.max_chars_per_word, limit.count());
  }
  return read_vocabulary(model["vocab"]);
}

using PiecePair = std::pair<std::string, std::string>;

// Pieces hold no spaces where merges are written so.
std::optional<PiecePair> split_merge(const std::string& both) {
  const std::size_t space = both.find(' ');
  if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos)
    return std::nullopt;
  return PiecePair(both.substr(0, space), both.substr(space + 1));
}

// "a b", or since 2024 ["a", "b"].
Result<PiecePair> read_merge(const JsonValue& merge) {
  if (merge.is_string()) {
    RTAI_TRY(const std::string both, merge.string());
    if (auto pair = split_merge(both)) return *std::move(pair);
    return merge.wrong("two pieces with a space between them");
  }
  RTAI_TRY(const std::vector<JsonValue> elements, merge.elements());
  if (elements.size() != 2) return merge.wrong("two pieces");
  RTAI_TRY(std::string left, elements[0].string());
  RTAI_TRY(std::string right, elements[1].string());
  return PiecePair(std::move(left), std::move(right));
}

// Ids of the two pieces of a merge, which stands at `place`.
Result<void> add_merge(const PiecePair& pieces,
                       const json& vocab,
                       const std::string& place,
                       ModelSettings& settings) {
  const auto id_of = [&](const std::string& piece) -> Result<std::int32_t> {
    const auto found = vocab.find(piece);
    if (found != vocab.end()) return found->get<std::int32_t>();
    return invalid_input(fmt::format("{}: '{}' is not in the vocabulary", place, piece));
  };
  RTAI_TRY(const std::int32_t left, id_of(pieces.first));
  RTAI_TRY(const std::int32_t right, id_of(pieces.second));
  settings.merges.emplace_back(left, right);
  return {};
}

Result<void> read_merges(const JsonValue& merges, const json& vocab, ModelSettings& settings) {
  RTAI_TRY(const std::vector<JsonValue> elements, merges.elements());
  settings.merges.reserve(elements.size());
  for (const JsonValue& element : elements) {
    RTAI_TRY(const auto pieces, read_merge(element));
    RTAI_TRY_VOID(add_merge(pieces, vocab, element.place(), settings));
  }
  return {};
}

Result<std::vector<std::string>> read_bpe(const JsonValue& model, ModelSettings& settings) {
  settings.kind = ModelSettings::Kind::bpe;
  for (const char* option : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"})
    RTAI_TRY_VOID(expect_off(model[option]));
  RTAI_TRY(settings.unknown, model["unk_token"].string_or(""));
  RTAI_TRY(settings.fuse_unknown, model["fuse_unk"].boolean_or(false));
  RTAI_TRY(settings.byte_fallback, model["byte_fallback"].boolean_or(false));
  RTAI_TRY(settings.ignore_merges, model["ignore_merges"].boolean_or(false));
  RTAI_TRY(std::vector<std::string> pieces, read_vocabulary(model["vocab"]));
  RTAI_TRY_VOID(read_merges(model["merges"], model["vocab"].raw(), settings));
  return pieces;
}

// The library's JSON reader makes a double of the digits and a power of ten, each rounded, and
// divides; where two spellings of a word are nearly as likely, the last bit can decide.
double as_read_by_library(double exact) {
  char digits[64];
  const auto [end, error] = std::to_chars(std::begin(digits), std::end(digits), std::fabs(exact),
                                          std::chars_format::scientific);
  std::uint64_t significand = 0;
  int exponent = 0;
  const char* at = digits;
  for (bool fraction = false; at != end && *at != 'e'; ++at) {
    if (*at == '.') {
      fraction = true;
      continue;
    }
    significand = significand * 10 + static_cast<std::uint64_t>(*at - '0');
    exponent -= fraction ? 1 : 0;
  }
  int power = 0;
  if (at != end) std::from_chars(at + (at[1] == '+' ? 2 : 1), end, power);
  exponent += power;
  if (error != std::errc() || std::abs(exponent) > 300) return exact;
  const double scale = std::strtod(fmt::format("1e{}", std::abs(exponent)).c_str(), nullptr);
  const auto value = static_cast<double>(significand);
  return std::copysign(exponent >= 0 ? value * scale : value / scale, exact);
}

Result<std::vector<std::string>> read_unigram(const JsonValue& model, ModelSettings& settings) {
  settings.kind = ModelSettings::Kind::unigram;
  RTAI_TRY(settings.byte_fallback, model["byte_fallback"].boolean_or(false));
  RTAI_TRY(const std::vector<JsonValue> elements, model["vocab"].elements());
  std::vector<std::string> pieces;
  pieces.reserve(elements.size());
  for (const JsonValue& element : elements) {
    RTAI_TRY(const std::vector<JsonValue> entry, element.elements());
    if (entry.size() != 2 || !entry[1].exists() || !entry[1].raw().is_number()) {
      return element.wrong("a piece and its score");
    }
    RTAI_TRY(std::string piece, entry[0].string());
    pieces.push_back(std::move(piece));
    settings.scores.push_back(as_read_by_library(entry[1].raw().get<double>()));
  }
  const JsonValue unknown = model["unk_id"];
  if (!unknown.exists())
    return unsupported("tokenizer model Unigram without unk_id is not supported");
  RTAI_TRY(const std::int32_t id, unknown.count());
  if (static_cast<std::size_t>(id) >= pieces.size()) {
    return invalid_input(
        fmt::format("{}: expected an id below {}, found {}", unknown.place(), pieces.size(), id));
  }
  settings.unknown = pieces[static_cast<std::size_t>(id)];
  return pieces;
}

// Files of old versions have no type.
std::string guess_model(const JsonValue& model) {
  if (model["merges"].exists()) return "BPE";
  if (model["max_input_chars_per_word"].exists()) return "WordPiece";
  return model["unk_id"].exists() ? "Unigram" : "none";
}

}  // namespace

Result<std::vector<std::string>> read_model(const JsonValue& model, ModelSettings& settings) {
  RTAI_TRY(std::string kind, kind_of(model));
  if (kind == "none") kind = guess_model(model);
  if (kind == "WordPiece") return read_word_piece(model, settings);
  if (kind == "BPE") return read_bpe(model, settings);
  if (kind == "Unigram") return read_unigram(model, settings);
  return unsupported_kind("model", kind, "WordPiece, BPE, Unigram");
}

Result<std::vector<std::string>> read_bpe_files(const JsonValue& vocabulary,
                                                std::string_view merges,
                                                ModelSettings& settings) {
  settings.kind = ModelSettings::Kind::bpe;
  RTAI_TRY(std::vector<std::string> pieces, read_vocabulary(vocabulary));
  RTAI_TRY(const std::vector<std::string> lines,
           split_lines(merges, 2 * Vocabulary::kMaxPieces).in("merges.txt"));
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (lines[i].starts_with("#version")) continue;
    const std::string place = fmt::format("merges.txt: line {}", i + 1);
    const auto pair = split_merge(lines[i]);
    if (!pair) return invalid_input(place + ": expected two pieces with a space between them");
    RTAI_TRY_VOID(add_merge(*pair, vocabulary.raw(), place, settings));
  }
  return pieces;
}

}  // namespace rtai::tools
