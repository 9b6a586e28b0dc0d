#include "tools/tokenizer_json.h"

#include "tools/base64.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using nlohmann::json;
using text::AddedToken;
using text::FrameStep;
using text::ModelSettings;
using text::NormalizerStep;
using text::SplitterStep;
using text::Tokenizer;
using text::TokenizerSettings;
using text::Vocabulary;
using Delimiter = SplitterStep::Delimiter;
using Kind = NormalizerStep::Kind;
using Pattern = SplitterStep::Pattern;
using Prefix = SplitterStep::Prefix;

Error invalid(std::string message) {
  return {ErrorCode::invalid_input, std::move(message)};
}
Error unsupported(std::string message) {
  return {ErrorCode::unsupported, std::move(message)};
}

Result<std::string> kind_of(const JsonValue& part) {
  if (!part.exists()) return std::string("none");
  RTAI_TRY_VOID(part.expect_object());
  return part["type"].string_or("none");
}

// An option that rtai can do only when it is off.
Result<void> expect_off(const JsonValue& option) {
  if (!option.exists()) return {};
  const json& value = option.raw();
  const bool off = value == false || value == 0 || value == "";
  if (off) return {};
  return unsupported(fmt::format("tokenizer option {} = {} is not supported", option.place(),
                                 value.dump(-1, ' ', false, json::error_handler_t::replace)));
}

// {"String": ...} or {"Regex": ...}
struct TextPattern {
  std::string text;
  bool is_expression;
};
Result<TextPattern> read_pattern(const JsonValue& pattern) {
  TextPattern result;
  result.is_expression = pattern["Regex"].exists();
  RTAI_TRY(result.text, pattern[result.is_expression ? "Regex" : "String"].string());
  if (result.text.empty()) return pattern.wrong("a pattern that is not empty");
  return result;
}

// --- normalizer

using NormalizerSteps = std::vector<NormalizerStep>;

Result<NormalizerSteps> read_normalizer(const JsonValue& normalizer);

Result<NormalizerSteps> read_bert_normalizer(const JsonValue& normalizer) {
  RTAI_TRY(const bool clean_text, normalizer["clean_text"].boolean_or(true));
  RTAI_TRY(const bool chinese, normalizer["handle_chinese_chars"].boolean_or(true));
  RTAI_TRY(const bool lowercase, normalizer["lowercase"].boolean_or(true));
  RTAI_TRY(const bool strip_accents, normalizer["strip_accents"].boolean_or(lowercase));
  return text::bert_normalizer(clean_text, chinese, strip_accents, lowercase);
}

Result<NormalizerSteps> read_replace(const JsonValue& normalizer) {
  RTAI_TRY(const TextPattern pattern, read_pattern(normalizer["pattern"]));
  RTAI_TRY(std::string content, normalizer["content"].string());
  if (!pattern.is_expression) {
    return NormalizerSteps{
        {.kind = Kind::replace, .pattern = pattern.text, .text = std::move(content)}};
  }
  if (pattern.text != kSpacesExpression) {
    return unsupported_kind("normalizer expression", pattern.text, kSpacesExpression);
  }
  return NormalizerSteps{{.kind = Kind::join_spaces, .text = std::move(content)}};
}

Result<NormalizerSteps> read_charsmap(const JsonValue& normalizer) {
  const JsonValue map = normalizer["precompiled_charsmap"];
  RTAI_TRY(const std::string encoded, map.string());
  auto bytes = decode_base64(encoded);
  if (!bytes) return map.wrong("base64");
  return NormalizerSteps{{.kind = Kind::charsmap, .text = *std::move(bytes)}};
}

Result<NormalizerSteps> read_normalizer_sequence(const JsonValue& normalizer) {
  RTAI_TRY(const std::vector<JsonValue> elements, normalizer["normalizers"].elements());
  NormalizerSteps steps;
  for (const JsonValue& element : elements) {
    RTAI_TRY(NormalizerSteps more, read_normalizer(element));
    steps.insert(steps.end(), std::make_move_iterator(more.begin()),
                 std::make_move_iterator(more.end()));
  }
  return steps;
}

Result<NormalizerSteps> read_normalizer(const JsonValue& normalizer) {
  if (!normalizer.exists()) return NormalizerSteps();
  RTAI_TRY(const std::string kind, kind_of(normalizer));
  if (kind == "Sequence") return read_normalizer_sequence(normalizer);
  if (kind == "BertNormalizer") return read_bert_normalizer(normalizer);
  if (kind == "Replace") return read_replace(normalizer);
  if (kind == "Precompiled") return read_charsmap(normalizer);
  if (kind == "Prepend") {
    RTAI_TRY(std::string prefix, normalizer["prepend"].string());
    return NormalizerSteps{{.kind = Kind::prepend, .text = std::move(prefix)}};
  }
  if (kind == "Strip") {
    RTAI_TRY(const bool left, normalizer["strip_left"].boolean_or(true));
    RTAI_TRY(const bool right, normalizer["strip_right"].boolean_or(true));
    NormalizerSteps steps;
    if (left) steps.push_back({Kind::strip_left});
    if (right) steps.push_back({Kind::strip_right});
    return steps;
  }
  constexpr std::pair<std::string_view, NormalizerStep::Kind> kPlain[] = {
      {"NFC", Kind::nfc},
      {"NFD", Kind::nfd},
      {"NFKC", Kind::nfkc},
      {"NFKD", Kind::nfkd},
      {"Lowercase", Kind::lowercase},
      {"StripAccents", Kind::strip_accents},
      {"Nmt", Kind::nmt}};
  for (const auto& [name, step] : kPlain) {
    if (kind == name) return NormalizerSteps{{step}};
  }
  return unsupported_kind("normalizer", kind,
                          "BertNormalizer, Lowercase, NFC, NFD, NFKC, NFKD, Nmt, Precompiled, "
                          "Prepend, Replace, Sequence, Strip, StripAccents");
}

// --- pre_tokenizer

using SplitterSteps = std::vector<SplitterStep>;

Result<Delimiter> read_delimiter(const JsonValue& behavior, std::string_view absent) {
  constexpr std::pair<std::string_view, Delimiter> kNames[] = {
      {"Removed", Delimiter::removed},
      {"Isolated", Delimiter::isolated},
      {"MergedWithPrevious", Delimiter::merged_with_previous},
      {"MergedWithNext", Delimiter::merged_with_next},
      {"Contiguous", Delimiter::contiguous}};
  RTAI_TRY(const std::string name, behavior.string_or(absent));
  for (const auto& [known, delimiter] : kNames) {
    if (name == known) return delimiter;
  }
  return behavior.wrong("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

Result<SplitterStep> read_split(const JsonValue& splitter) {
  RTAI_TRY(const TextPattern pattern, read_pattern(splitter["pattern"]));
  SplitterStep step;
  RTAI_TRY(step.delimiter, read_delimiter(splitter["behavior"], ""));
  RTAI_TRY(step.invert, splitter["invert"].boolean());
  step.pattern = pattern.is_expression ? Pattern::gpt2 : Pattern::literal;
  if (!pattern.is_expression) {
    step.literal = pattern.text;
  } else if (pattern.text != kGpt2Expression) {
    return unsupported_kind("pre_tokenizer expression", pattern.text, "that of GPT-2");
  }
  return step;
}

Result<SplitterStep> read_metaspace(const JsonValue& splitter) {
  SplitterStep step;
  RTAI_TRY(step.space, splitter["replacement"].string());
  RTAI_TRY(const bool has_prefix, splitter["add_prefix_space"].boolean_or(true));
  RTAI_TRY(const std::string scheme, splitter["prepend_scheme"].string_or("always"));
  RTAI_TRY(const bool splits, splitter["split"].boolean_or(true));
  constexpr std::pair<std::string_view, Prefix> kSchemes[] = {
      {"always", Prefix::always}, {"first", Prefix::first}, {"never", Prefix::never}};
  const auto known = std::find_if(std::begin(kSchemes), std::end(kSchemes),
                                  [&](const auto& entry) { return entry.first == scheme; });
  if (known == std::end(kSchemes))
    return splitter["prepend_scheme"].wrong("always, first or never");
  step.prefix = known->second;
  if (!has_prefix && step.prefix != Prefix::never) {
    if (splitter["prepend_scheme"].exists()) {
      return splitter["add_prefix_space"].wrong("true, as the prepend_scheme says");
    }
    return splitter["add_prefix_space"].wrong("true, or the prepend_scheme never");
  }
  if (splits) {
    step.pattern = Pattern::literal;
    step.literal = step.space;
    step.delimiter = Delimiter::merged_with_next;
  }
  return step;
}

Result<void> read_splitter(const JsonValue& splitter, TokenizerSettings& settings) {
  if (!splitter.exists()) return {};
  // What comes after ByteLevel would see its characters, not those of the text.
  if (settings.model.byte_level) {
    return unsupported("tokenizer pre_tokenizer ByteLevel is supported as the last one only");
  }
  RTAI_TRY(const std::string kind, kind_of(splitter));
  SplitterSteps& steps = settings.splitter;
  if (kind == "Sequence") {
    RTAI_TRY(const std::vector<JsonValue> elements, splitter["pretokenizers"].elements());
    for (const JsonValue& element : elements)
      RTAI_TRY_VOID(read_splitter(element, settings));
    return {};
  }
  if (kind == "BertPreTokenizer") {
    for (SplitterStep& step : text::bert_splitter())
      steps.push_back(std::move(step));
    return {};
  }
  SplitterStep step;
  if (kind == "ByteLevel") {
    RTAI_TRY(const bool prefix, splitter["add_prefix_space"].boolean());
    RTAI_TRY(const bool splits, splitter["use_regex"].boolean_or(true));
    step.prefix = prefix ? Prefix::always : Prefix::never;
    step.pattern = splits ? Pattern::gpt2 : Pattern::none;
    settings.model.byte_level = true;
  } else if (kind == "Metaspace") {
    RTAI_TRY(step, read_metaspace(splitter));
  } else if (kind == "Split") {
    RTAI_TRY(step, read_split(splitter));
  } else if (kind == "Whitespace") {
    step = {.pattern = Pattern::word_or_symbols, .delimiter = Delimiter::removed, .invert = true};
  } else if (kind == "WhitespaceSplit") {
    step = {.pattern = Pattern::whitespace, .delimiter = Delimiter::removed};
  } else if (kind == "Punctuation") {
    step.pattern = Pattern::punctuation;
    RTAI_TRY(step.delimiter, read_delimiter(splitter["behavior"], "Isolated"));
  } else if (kind == "Digits") {
    RTAI_TRY(const bool each, splitter["individual_digits"].boolean());
    step.pattern = Pattern::numeric;
    step.delimiter = each ? Delimiter::isolated : Delimiter::contiguous;
  } else {
    return unsupported_kind(
        "pre_tokenizer", kind,
        "BertPreTokenizer, ByteLevel, Digits, Metaspace, Punctuation, Sequence, "
        "Split, Whitespace, WhitespaceSplit");
  }
  steps.push_back(std::move(step));
  return {};
}

// --- model

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
    return invalid(fmt::format("{}: id {} is too large for {} pieces", vocab.place(), largest,
                               vocab.raw().size()));
  }
  std::vector<std::string> pieces(static_cast<std::size_t>(largest + 1));
  for (const auto& [piece, id] : vocab.raw().items()) {
    std::string& place = pieces[id.get<std::size_t>()];
    if (!place.empty()) {
      return invalid(fmt::format("{}: id {} belongs to '{}' and to '{}'", vocab.place(),
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

// "a b", or since 2024 ["a", "b"].
Result<std::pair<std::string, std::string>> read_merge(const JsonValue& merge) {
  if (merge.is_string()) {
    RTAI_TRY(const std::string both, merge.string());
    const std::size_t space = both.find(' ');
    if (space == std::string::npos || both.find(' ', space + 1) != std::string::npos) {
      return merge.wrong("two pieces with a space between them");
    }
    return std::pair(both.substr(0, space), both.substr(space + 1));
  }
  RTAI_TRY(const std::vector<JsonValue> elements, merge.elements());
  if (elements.size() != 2) return merge.wrong("two pieces");
  RTAI_TRY(std::string left, elements[0].string());
  RTAI_TRY(std::string right, elements[1].string());
  return std::pair(std::move(left), std::move(right));
}

Result<void> read_merges(const JsonValue& merges, const json& vocab, ModelSettings& settings) {
  RTAI_TRY(const std::vector<JsonValue> elements, merges.elements());
  settings.merges.reserve(elements.size());
  const auto id_of = [&](const std::string& piece, const JsonValue& merge) -> Result<std::int32_t> {
    const auto found = vocab.find(piece);
    if (found != vocab.end()) return found->get<std::int32_t>();
    return invalid(fmt::format("{}: '{}' is not in the vocabulary", merge.place(), piece));
  };
  for (const JsonValue& element : elements) {
    RTAI_TRY(const auto pieces, read_merge(element));
    RTAI_TRY(const std::int32_t left, id_of(pieces.first, element));
    RTAI_TRY(const std::int32_t right, id_of(pieces.second, element));
    settings.merges.emplace_back(left, right);
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
    return invalid(
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

Result<std::vector<std::string>> read_model(const JsonValue& model, ModelSettings& settings) {
  RTAI_TRY(std::string kind, kind_of(model));
  if (kind == "none") kind = guess_model(model);
  if (kind == "WordPiece") return read_word_piece(model, settings);
  if (kind == "BPE") return read_bpe(model, settings);
  if (kind == "Unigram") return read_unigram(model, settings);
  return unsupported_kind("model", kind, "WordPiece, BPE, Unigram");
}

// --- post_processor

struct NamedToken {
  std::string content;
  std::int32_t id;
};

Result<NamedToken> read_named_token(const JsonValue& pair) {
  RTAI_TRY(const std::vector<JsonValue> elements, pair.elements());
  if (elements.size() != 2) return pair.wrong("a token and its id");
  NamedToken token;
  RTAI_TRY(token.content, elements[0].string());
  RTAI_TRY(token.id, elements[1].count());
  return token;
}

/// The frames, with what is needed to check their ids once the tokenizer is made.
struct Frames {
  std::vector<NamedToken> tokens;
  bool found = false;
};

Result<void> read_template(const JsonValue& steps,
                           const JsonValue& special_tokens,
                           std::vector<FrameStep>& frame,
                           Frames& frames) {
  RTAI_TRY(const std::vector<JsonValue> elements, steps.elements());
  for (const JsonValue& element : elements) {
    const bool is_special = element["SpecialToken"].exists();
    const JsonValue content = element[is_special ? "SpecialToken" : "Sequence"];
    RTAI_TRY(const std::string name, content["id"].string());
    RTAI_TRY(const std::int32_t segment, content["type_id"].count());
    if (!is_special) {
      if (name != "A" && name != "B") return content["id"].wrong("A or B");
      frame.push_back({name == "A" ? FrameStep::kFirst : FrameStep::kSecond, segment});
      continue;
    }
    const JsonValue entry = special_tokens[name];
    RTAI_TRY(const std::vector<JsonValue> ids, entry["ids"].elements());
    RTAI_TRY(const std::vector<JsonValue> names, entry["tokens"].elements());
    if (ids.size() != names.size()) return entry["tokens"].wrong("a token for each id");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      NamedToken token;
      RTAI_TRY(token.id, ids[i].count());
      RTAI_TRY(token.content, names[i].string());
      frame.push_back({token.id, segment});
      frames.tokens.push_back(std::move(token));
    }
  }
  return {};
}

Result<void> read_trimming(const JsonValue& processor, TokenizerSettings& settings) {
  RTAI_TRY(settings.trim_offsets, processor["trim_offsets"].boolean_or(true));
  RTAI_TRY(settings.trim_keeps_prefix, processor["add_prefix_space"].boolean_or(true));
  if (settings.trim_offsets && settings.model.kind != ModelSettings::Kind::bpe) {
    return unsupported("tokenizer option post_processor.trim_offsets is supported with BPE only");
  }
  return {};
}

Result<void> read_processor(const JsonValue& processor,
                            TokenizerSettings& settings,
                            Frames& frames) {
  if (!processor.exists()) return {};
  RTAI_TRY(const std::string kind, kind_of(processor));
  if (kind == "Sequence") {
    RTAI_TRY(const std::vector<JsonValue> elements, processor["processors"].elements());
    for (const JsonValue& element : elements)
      RTAI_TRY_VOID(read_processor(element, settings, frames));
    return {};
  }
  if (kind == "ByteLevel") {
    if (settings.trim_offsets)
      return unsupported("tokenizer trims offsets twice, which is not supported");
    return read_trimming(processor, settings);
  }
  const bool roberta = kind == "RobertaProcessing";
  if (!roberta && kind != "BertProcessing" && kind != "TemplateProcessing") {
    return unsupported_kind(
        "post_processor", kind,
        "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing");
  }
  if (std::exchange(frames.found, true)) {
    return unsupported("tokenizer has more than one frame, which is not supported");
  }
  settings.single.clear();
  settings.pair.clear();
  if (kind == "TemplateProcessing") {
    const JsonValue special = processor["special_tokens"];
    RTAI_TRY_VOID(read_template(processor["single"], special, settings.single, frames));
    return read_template(processor["pair"], special, settings.pair, frames);
  }
  RTAI_TRY(NamedToken cls, read_named_token(processor["cls"]));
  RTAI_TRY(NamedToken sep, read_named_token(processor["sep"]));
  settings.single = {{cls.id, 0}, {FrameStep::kFirst, 0}, {sep.id, 0}};
  settings.pair = settings.single;
  if (roberta) {
    settings.pair.insert(settings.pair.end(), {{sep.id, 0}, {FrameStep::kSecond, 0}, {sep.id, 0}});
    if (settings.trim_offsets)
      return unsupported("tokenizer trims offsets twice, which is not supported");
    RTAI_TRY_VOID(read_trimming(processor, settings));
  } else {
    settings.pair.insert(settings.pair.end(), {{FrameStep::kSecond, 1}, {sep.id, 1}});
  }
  frames.tokens = {std::move(cls), std::move(sep)};
  return {};
}

Result<void> check_frame_tokens(const Tokenizer& tokenizer, const std::vector<NamedToken>& tokens) {
  for (const NamedToken& token : tokens) {
    const auto id = tokenizer.id_of(token.content);
    if (id == token.id) continue;
    return invalid(fmt::format("post_processor: expected id {} for '{}', found {}", id.value_or(-1),
                               token.content, token.id));
  }
  return {};
}

}  // namespace

Error unsupported_kind(std::string_view part, std::string_view kind, std::string_view supported) {
  return unsupported(
      fmt::format("tokenizer {} '{}' is not supported; supported: {}", part, kind, supported));
}

Result<std::string> read_token(const JsonValue& token, std::string_view absent) {
  if (!token.exists() || token.is_string()) return token.string_or(absent);
  return token["content"].string();
}

Result<AddedToken> read_added_token(const JsonValue& token, std::int32_t id) {
  AddedToken added;
  added.id = id;
  RTAI_TRY(added.content, token["content"].string());
  RTAI_TRY(added.special, token["special"].boolean_or(false));
  RTAI_TRY(added.single_word, token["single_word"].boolean_or(false));
  RTAI_TRY(added.lstrip, token["lstrip"].boolean_or(false));
  RTAI_TRY(added.rstrip, token["rstrip"].boolean_or(false));
  RTAI_TRY(added.normalized, token["normalized"].boolean_or(!added.special));
  return added;
}

Result<Tokenizer> from_tokenizer_json(const JsonValue& root, const JsonValue& config) {
  TokenizerSettings settings;
  RTAI_TRY(const std::string version, root["version"].string_or("1.0"));
  if (version != "1.0") return unsupported_kind("version", version, "1.0");
  RTAI_TRY(const std::vector<std::string> pieces, read_model(root["model"], settings.model));
  RTAI_TRY(settings.normalizer, read_normalizer(root["normalizer"]));
  RTAI_TRY_VOID(read_splitter(root["pre_tokenizer"], settings));
  if (settings.model.byte_level && settings.model.kind != ModelSettings::Kind::bpe) {
    return unsupported("tokenizer pre_tokenizer ByteLevel is supported with the model BPE only");
  }
  Frames frames;
  settings.single = {{FrameStep::kFirst, 0}};
  settings.pair = {{FrameStep::kFirst, 0}, {FrameStep::kSecond, 1}};
  RTAI_TRY_VOID(read_processor(root["post_processor"], settings, frames));
  if (const JsonValue added = root["added_tokens"]; added.exists()) {
    RTAI_TRY(const std::vector<JsonValue> elements, added.elements());
    for (const JsonValue& element : elements) {
      RTAI_TRY(const std::int32_t id, element["id"].count());
      RTAI_TRY(AddedToken token, read_added_token(element, id));
      settings.added_tokens.push_back(std::move(token));
    }
  }
  RTAI_TRY(settings.pad, read_token(config["pad_token"], ""));
  RTAI_TRY(settings.mask, read_token(config["mask_token"], ""));
  RTAI_TRY(Tokenizer tokenizer, Tokenizer::create(pieces, std::move(settings)));
  RTAI_TRY_VOID(check_frame_tokens(tokenizer, frames.tokens));
  return tokenizer;
}

}  // namespace rtai::tools
