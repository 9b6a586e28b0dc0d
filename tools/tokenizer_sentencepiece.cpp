// Models of sentencepiece as the tokenizers that Transformers 5 makes of them. What sentencepiece
// itself would answer differs in places: it does not cut user-defined pieces out before all else,
// and DeBERTa's own rules for characters are left aside.
#include "tools/internal/tokenizer_side_files.h"
#include "tools/sentencepiece_file.h"
#include "tools/tokenizer_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using text::AddedToken;
using text::FrameStep;
using text::NormalizerStep;
using text::SplitterStep;
using text::Tokenizer;
using text::TokenizerSettings;
using Delimiter = SplitterStep::Delimiter;
using Kind = NormalizerStep::Kind;
using Name = TokenCollection::Name;
using Pattern = SplitterStep::Pattern;
using PieceType = SentencePieceFile::PieceType;
using Prefix = SplitterStep::Prefix;

constexpr const char* kSpace = "\xe2\x96\x81";  // U+2581

/// Pieces by id with their scores.
struct ScoredPieces {
  std::vector<std::string> texts;
  std::vector<double> scores;

  void add(std::string text, double score) {
    texts.push_back(std::move(text));
    scores.push_back(score);
  }
  void add_from(const SentencePieceFile& file, std::size_t first) {
    for (std::size_t i = std::min(first, file.pieces.size()); i < file.pieces.size(); ++i)
      add(file.pieces[i].text, static_cast<double>(file.pieces[i].score));
  }
  std::size_t index_of(const std::string& text) const {
    return static_cast<std::size_t>(std::find(texts.begin(), texts.end(), text) - texts.begin());
  }
};

/// What a class makes of a model. Source: tokenization_*.py and convert_slow_tokenizer.py of
/// Transformers 5.24.
struct Family {
  enum class Kind : std::uint8_t { albert, camembert, deberta, xlm_roberta };
  Kind kind;
  TokenCollection::Defaults tokens;

  bool is_bert_like() const { return kind == Kind::albert || kind == Kind::deberta; }
};

Result<Family> find_family(const std::string& name) {
  constexpr std::pair<std::string_view, Family::Kind> kKnown[] = {
      {"AlbertTokenizer", Family::Kind::albert},
      {"CamembertTokenizer", Family::Kind::camembert},
      {"DebertaV2Tokenizer", Family::Kind::deberta},
      {"XLMRobertaTokenizer", Family::Kind::xlm_roberta}};
  const auto* known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                   [&](const auto& entry) { return entry.first == name; });
  if (known == std::end(kKnown)) {
    return unsupported_kind("class of a sentencepiece model", name,
                            "AlbertTokenizer, CamembertTokenizer, DebertaV2Tokenizer, "
                            "XLMRobertaTokenizer");
  }
  Family family{.kind = known->second, .tokens = {}};
  const auto set = [&](Name token, const char* content) {
    family.tokens[token] = TokenCollection::plain(content);
  };
  const bool bert = family.is_bert_like();
  for (const Name name_of_first : {Name::bos, Name::cls})
    set(name_of_first, bert ? "[CLS]" : "<s>");
  for (const Name name_of_last : {Name::eos, Name::sep})
    set(name_of_last, bert ? "[SEP]" : "</s>");
  const bool deberta = family.kind == Family::Kind::deberta;
  set(Name::unk, deberta ? "[UNK]" : "<unk>");
  set(Name::pad, deberta ? "[PAD]" : "<pad>");
  set(Name::mask, bert ? "[MASK]" : "<mask>");
  family.tokens[Name::mask]->lstrip = family.kind == Family::Kind::camembert;
  return family;
}

ScoredPieces pieces_of(const Family& family,
                       const SentencePieceFile& file,
                       const TokenCollection& tokens) {
  ScoredPieces pieces;
  switch (family.kind) {
    case Family::Kind::albert:
    case Family::Kind::deberta:
      pieces.add_from(file, 0);
      return pieces;
    case Family::Kind::camembert:
      pieces.add("<s>NOTUSED", 0);
      pieces.add(tokens[Name::pad], 0);
      pieces.add("</s>NOTUSED", 0);
      pieces.add(tokens[Name::unk], 0);
      pieces.add("<unk>NOTUSED", -100);
      pieces.add_from(file, 1);
      break;
    case Family::Kind::xlm_roberta:
      for (const Name name : {Name::bos, Name::pad, Name::eos, Name::unk})
        pieces.add(tokens[name], 0);
      pieces.add_from(file, 3);
      break;
  }
  pieces.add(tokens[Name::mask], 0);
  return pieces;
}

std::size_t unknown_of(const Family& family,
                       const SentencePieceFile& file,
                       const ScoredPieces& pieces,
                       const TokenCollection& tokens) {
  if (family.kind == Family::Kind::albert) return 1;
  if (family.kind != Family::Kind::deberta) return 3;
  const std::size_t named = pieces.index_of(tokens[Name::unk]);
  return named < pieces.texts.size() && pieces.scores[named] == 0 ? named : file.unknown_id;
}

Result<std::vector<NormalizerStep>> normalizer_of(const Family& family,
                                                  const SentencePieceFile& file,
                                                  const JsonValue& config) {
  std::vector<NormalizerStep> steps;
  const bool albert = family.kind == Family::Kind::albert;
  RTAI_TRY(const bool lowercase, config["do_lower_case"].boolean_or(albert));
  if (family.kind == Family::Kind::deberta) {
    if (lowercase) steps.push_back({Kind::lowercase});
    steps.push_back({.kind = Kind::join_whitespace, .text = " "});
    steps.push_back({Kind::nfc});
    steps.push_back({Kind::strip_right});
    return steps;
  }
  if (albert) {
    RTAI_TRY(const bool keep_accents, config["keep_accents"].boolean_or(false));
    steps.push_back({.kind = Kind::replace, .pattern = "``", .text = "\""});
    steps.push_back({.kind = Kind::replace, .pattern = "''", .text = "\""});
    if (!keep_accents) steps.push_back({Kind::nfkd});
    if (!keep_accents) steps.push_back({Kind::strip_accents});
    if (lowercase) steps.push_back({Kind::lowercase});
  }
  if (!file.charsmap.empty()) steps.push_back({.kind = Kind::charsmap, .text = file.charsmap});
  return steps;
}

Result<std::vector<SplitterStep>> splitter_of(const Family& family, const JsonValue& config) {
  std::vector<SplitterStep> steps;
  const bool deberta = family.kind == Family::Kind::deberta;
  RTAI_TRY(const bool prefix, config["add_prefix_space"].boolean_or(true));
  RTAI_TRY(const bool at_punctuation, config["split_by_punct"].boolean_or(false));
  if (!deberta) {
    steps.push_back({.pattern = Pattern::whitespace, .delimiter = Delimiter::removed});
  } else if (at_punctuation) {
    steps.push_back({.pattern = Pattern::punctuation, .delimiter = Delimiter::isolated});
  }
  steps.push_back({.space = kSpace,
                   .prefix = prefix    ? Prefix::always
                             : deberta ? Prefix::first
                                       : Prefix::never,
                   .pattern = Pattern::literal,
                   .delimiter = Delimiter::merged_with_next,
                   .literal = kSpace});
  return steps;
}

// [CLS] A [SEP] B [SEP] with segments, or <s> A </s> </s> B </s> without.
Result<void> set_frames(const Family& family,
                        const TokenCollection& tokens,
                        TokenizerSettings& settings) {
  const bool bert = family.is_bert_like();
  RTAI_TRY(const std::int32_t first,
           tokens.id(bert ? Name::cls : Name::bos, settings.added_tokens));
  RTAI_TRY(const std::int32_t last, tokens.id(bert ? Name::sep : Name::eos, settings.added_tokens));
  settings.single = {{first, 0}, {FrameStep::kFirst, 0}, {last, 0}};
  settings.pair = settings.single;
  if (bert) {
    settings.pair.insert(settings.pair.end(), {{FrameStep::kSecond, 1}, {last, 1}});
  } else {
    settings.pair.insert(settings.pair.end(), {{last, 0}, {FrameStep::kSecond, 0}, {last, 0}});
  }
  return {};
}

// Control pieces are special; user-defined ones are cut out of texts, too.
std::vector<AddedToken> tokens_of(const SentencePieceFile& file) {
  std::vector<AddedToken> tokens;
  for (const SentencePieceFile::Piece& piece : file.pieces) {
    const bool control = piece.type == PieceType::control;
    if (control || piece.type == PieceType::user_defined)
      tokens.push_back({.content = piece.text, .special = control});
  }
  return tokens;
}

}  // namespace

Result<Tokenizer> from_sentencepiece(std::span<const std::byte> bytes, const SideFiles& files) {
  RTAI_TRY(const std::string name, tokenizer_class(files));
  RTAI_TRY(const Family family, find_family(name));
  RTAI_TRY(const SentencePieceFile file, parse_sentencepiece(bytes));
  if (file.algorithm != SentencePieceFile::Algorithm::unigram) {
    return Error{ErrorCode::unsupported,
                 "a sentencepiece model of another algorithm than Unigram is not supported"};
  }
  RTAI_TRY(const TokenCollection tokens,
           TokenCollection::create(files, family.tokens, tokens_of(file)));
  ScoredPieces pieces = pieces_of(family, file, tokens);

  TokenizerSettings settings;
  const std::size_t unknown = unknown_of(family, file, pieces, tokens);
  if (unknown >= pieces.texts.size() || pieces.index_of(pieces.texts[unknown]) != unknown) {
    return Error{ErrorCode::invalid_input,
                 fmt::format("expected the unknown piece once, with id {}", unknown)};
  }
  settings.model.kind = text::ModelSettings::Kind::unigram;
  settings.model.unknown = pieces.texts[unknown];
  settings.model.scores = std::move(pieces.scores);
  RTAI_TRY(settings.normalizer, normalizer_of(family, file, files.config));
  RTAI_TRY(settings.splitter, splitter_of(family, files.config));
  settings.added_tokens = tokens.numbered(pieces.texts);
  RTAI_TRY_VOID(set_frames(family, tokens, settings));
  settings.pad = tokens[Name::pad];
  settings.mask = tokens[Name::mask];
  return Tokenizer::create(pieces.texts, std::move(settings));
}

}  // namespace rtai::tools
