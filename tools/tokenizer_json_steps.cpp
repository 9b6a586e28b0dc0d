// normalizer and pre_tokenizer.
#include "tools/base64.h"
#include "tools/internal/tokenizer_json_parts.h"
#include "tools/tokenizer_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using text::NormalizerStep;
using text::SplitterStep;
using text::TokenizerSettings;
using Delimiter = SplitterStep::Delimiter;
using Kind = NormalizerStep::Kind;
using NormalizerSteps = std::vector<NormalizerStep>;
using Pattern = SplitterStep::Pattern;
using Prefix = SplitterStep::Prefix;
using SplitterSteps = std::vector<SplitterStep>;

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
  const bool spaces = pattern.text == kSpacesExpression;
  if (!spaces && pattern.text != kWhitespaceExpression) {
    return unsupported_kind("normalizer expression", pattern.text,
                            fmt::format("'{}', '{}'", kSpacesExpression, kWhitespaceExpression));
  }
  return NormalizerSteps{
      {.kind = spaces ? Kind::join_spaces : Kind::join_whitespace, .text = std::move(content)}};
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

}  // namespace

Result<std::vector<NormalizerStep>> read_normalizer(const JsonValue& normalizer) {
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

}  // namespace rtai::tools
