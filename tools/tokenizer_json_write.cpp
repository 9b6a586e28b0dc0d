// The other direction: primitive steps as the parts that a tokenizer.json has for them.
#include "tools/base64.h"
#include "tools/tokenizer_json.h"

#include <array>
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
using Kind = NormalizerStep::Kind;
using Pattern = SplitterStep::Pattern;

json bert_normalizer_json(bool clean_text, bool chinese, bool strip_accents, bool lowercase) {
  return {{"type", "BertNormalizer"},
          {"clean_text", clean_text},
          {"handle_chinese_chars", chinese},
          {"strip_accents", strip_accents},
          {"lowercase", lowercase}};
}

json normalizer_step_json(const NormalizerStep& step) {
  const auto plain = [](const char* type) { return json{{"type", type}}; };
  const auto replace = [&](const char* form, const std::string& pattern) {
    return json{{"type", "Replace"}, {"pattern", {{form, pattern}}}, {"content", step.text}};
  };
  switch (step.kind) {
    case Kind::clean_text:
      return bert_normalizer_json(true, false, false, false);
    case Kind::separate_chinese:
      return bert_normalizer_json(false, true, false, false);
    case Kind::strip_marks:
      return bert_normalizer_json(false, false, true, false);
    case Kind::nfd:
      return plain("NFD");
    case Kind::nfkd:
      return plain("NFKD");
    case Kind::nfc:
      return plain("NFC");
    case Kind::nfkc:
      return plain("NFKC");
    case Kind::strip_accents:
      return plain("StripAccents");
    case Kind::lowercase:
      return plain("Lowercase");
    case Kind::nmt:
      return plain("Nmt");
    case Kind::strip_left:
    case Kind::strip_right:
      return {{"type", "Strip"},
              {"strip_left", step.kind == Kind::strip_left},
              {"strip_right", step.kind == Kind::strip_right}};
    case Kind::prepend:
      return {{"type", "Prepend"}, {"prepend", step.text}};
    case Kind::replace:
      return replace("String", step.pattern);
    case Kind::join_spaces:
      return replace("Regex", std::string(kSpacesExpression));
    case Kind::join_whitespace:
      return replace("Regex", std::string(kWhitespaceExpression));
    case Kind::charsmap:
      break;
  }
  return {{"type", "Precompiled"}, {"precompiled_charsmap", encode_base64(step.text)}};
}

json normalizer_json(const TokenizerSettings& settings) {
  const std::vector<NormalizerStep>& steps = settings.normalizer;
  if (steps.empty()) return nullptr;
  const std::array flags = {
      settings.normalizes(Kind::clean_text), settings.normalizes(Kind::separate_chinese),
      settings.normalizes(Kind::strip_marks), settings.normalizes(Kind::lowercase)};
  if (steps == text::bert_normalizer(flags[0], flags[1], flags[2], flags[3])) {
    return bert_normalizer_json(flags[0], flags[1], flags[2], flags[3]);
  }
  if (steps.size() == 1) return normalizer_step_json(steps[0]);
  json all = json::array();
  for (const NormalizerStep& step : steps)
    all.push_back(normalizer_step_json(step));
  return {{"type", "Sequence"}, {"normalizers", std::move(all)}};
}

const char* delimiter_name(SplitterStep::Delimiter delimiter) {
  constexpr const char* kNames[] = {"Removed", "Isolated", "MergedWithPrevious", "MergedWithNext",
                                    "Contiguous"};
  return kNames[static_cast<std::size_t>(delimiter)];
}

json byte_level_json(bool prefix, bool trims, bool splits) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", prefix},
          {"trim_offsets", trims},
          {"use_regex", splits}};
}

json split_json(const SplitterStep& step, const char* form, std::string pattern) {
  return {{"type", "Split"},
          {"pattern", {{form, std::move(pattern)}}},
          {"behavior", delimiter_name(step.delimiter)},
          {"invert", step.invert}};
}

json splitter_step_json(const SplitterStep& step, bool byte_level) {
  constexpr const char* kSchemes[] = {"never", "first", "always"};
  const bool prefix = step.prefix != SplitterStep::Prefix::never;
  if (byte_level) return byte_level_json(prefix, true, step.pattern == Pattern::gpt2);
  if (!step.space.empty()) {
    return {{"type", "Metaspace"},
            {"replacement", step.space},
            {"prepend_scheme", kSchemes[static_cast<std::size_t>(step.prefix)]},
            {"split", step.pattern == Pattern::literal}};
  }
  switch (step.pattern) {
    case Pattern::word_or_symbols:
      return {{"type", "Whitespace"}};
    case Pattern::punctuation:
      return {{"type", "Punctuation"}, {"behavior", delimiter_name(step.delimiter)}};
    case Pattern::numeric:
      return {{"type", "Digits"},
              {"individual_digits", step.delimiter == SplitterStep::Delimiter::isolated}};
    case Pattern::gpt2:
      return split_json(step, "Regex", std::string(kGpt2Expression));
    case Pattern::literal:
      return split_json(step, "String", step.literal);
    case Pattern::none:
    case Pattern::whitespace:
      break;
  }
  return {{"type", "WhitespaceSplit"}};
}

json splitter_json(const TokenizerSettings& settings) {
  const std::vector<SplitterStep>& steps = settings.splitter;
  if (steps.empty()) return nullptr;
  if (steps == text::bert_splitter()) return {{"type", "BertPreTokenizer"}};
  json all = json::array();
  for (const SplitterStep& step : steps)
    all.push_back(splitter_step_json(step, settings.model.byte_level && &step == &steps.back()));
  if (all.size() == 1) return all[0];
  return {{"type", "Sequence"}, {"pretokenizers", std::move(all)}};
}

json template_json(const Tokenizer& tokenizer, const std::vector<FrameStep>& frame, json& special) {
  json steps = json::array();
  for (const FrameStep& step : frame) {
    if (step.id < 0) {
      const char* name = step.id == FrameStep::kFirst ? "A" : "B";
      steps.push_back({{"Sequence", {{"id", name}, {"type_id", step.segment}}}});
      continue;
    }
    const std::string token(tokenizer.token(step.id));
    steps.push_back({{"SpecialToken", {{"id", token}, {"type_id", step.segment}}}});
    special[token] = {
        {"id", token}, {"ids", json::array({step.id})}, {"tokens", json::array({token})}};
  }
  return steps;
}

json processor_json(const Tokenizer& tokenizer) {
  const TokenizerSettings& settings = tokenizer.settings();
  json special = json::object();
  json single = template_json(tokenizer, settings.single, special);
  json pair = template_json(tokenizer, settings.pair, special);
  json frame = {{"type", "TemplateProcessing"},
                {"single", std::move(single)},
                {"pair", std::move(pair)},
                {"special_tokens", std::move(special)}};
  if (!settings.trim_offsets) return frame;
  return {{"type", "Sequence"},
          {"processors", json::array({byte_level_json(settings.trim_keeps_prefix, true, true),
                                      std::move(frame)})}};
}

json vocabulary_json(const Tokenizer& tokenizer) {
  json vocab = json::object();
  for (std::size_t id = 0; id < tokenizer.vocabulary().size(); ++id) {
    const std::string_view piece = tokenizer.vocabulary().piece(id);
    if (!piece.empty()) vocab[std::string(piece)] = id;  // of equal pieces the last counts
  }
  return vocab;
}

json bpe_json(const Tokenizer& tokenizer) {
  const ModelSettings& model = tokenizer.settings().model;
  json merges = json::array();
  for (const auto& [left, right] : model.merges)
    merges.push_back(json::array({tokenizer.vocabulary().piece(static_cast<std::size_t>(left)),
                                  tokenizer.vocabulary().piece(static_cast<std::size_t>(right))}));
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", model.unknown.empty() ? json(nullptr) : json(model.unknown)},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", model.fuse_unknown},
          {"byte_fallback", model.byte_fallback},
          {"ignore_merges", model.ignore_merges},
          {"vocab", vocabulary_json(tokenizer)},
          {"merges", std::move(merges)}};
}

json unigram_json(const Tokenizer& tokenizer) {
  const ModelSettings& model = tokenizer.settings().model;
  json vocab = json::array();
  for (std::size_t id = 0; id < model.scores.size(); ++id)
    vocab.push_back(json::array({tokenizer.vocabulary().piece(id), model.scores[id]}));
  return {{"type", "Unigram"},
          {"unk_id", tokenizer.vocabulary().find(model.unknown).value_or(0)},
          {"vocab", std::move(vocab)},
          {"byte_fallback", model.byte_fallback}};
}

json model_json(const Tokenizer& tokenizer) {
  const ModelSettings& model = tokenizer.settings().model;
  if (model.kind == ModelSettings::Kind::bpe) return bpe_json(tokenizer);
  if (model.kind == ModelSettings::Kind::unigram) return unigram_json(tokenizer);
  return {{"type", "WordPiece"},
          {"unk_token", model.unknown},
          {"continuing_subword_prefix", model.continuation},
          {"max_input_chars_per_word", model.max_chars_per_word},
          {"vocab", vocabulary_json(tokenizer)}};
}

json decoder_json(const TokenizerSettings& settings) {
  if (settings.model.byte_level) return byte_level_json(true, true, true);
  for (const SplitterStep& step : settings.splitter) {
    if (!step.space.empty()) return splitter_step_json(step, false);
  }
  if (settings.model.kind != ModelSettings::Kind::word_piece) return nullptr;
  return {{"type", "WordPiece"}, {"prefix", settings.model.continuation}, {"cleanup", true}};
}

}  // namespace

json added_token_json(const AddedToken& token) {
  return {{"id", token.id},
          {"content", token.content},
          {"special", token.special},
          {"single_word", token.single_word},
          {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},
          {"normalized", token.normalized}};
}

json to_tokenizer_json(const Tokenizer& tokenizer) {
  const TokenizerSettings& settings = tokenizer.settings();
  json added = json::array();
  for (const AddedToken& token : settings.added_tokens)
    added.push_back(added_token_json(token));
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", std::move(added)},
          {"normalizer", normalizer_json(settings)},
          {"pre_tokenizer", splitter_json(settings)},
          {"post_processor", processor_json(tokenizer)},
          {"decoder", decoder_json(settings)},
          {"model", model_json(tokenizer)}};
}

}  // namespace rtai::tools
