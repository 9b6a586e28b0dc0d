#include "tools/tokenizer_files.h"

#include "runtime/base/atomic_write.h"
#include "runtime/base/mapped_file.h"
#include "tools/internal/tokenizer_side_files.h"
#include "tools/json_file.h"
#include "tools/own_file.h"
#include "tools/tokenizer_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using nlohmann::json;
using text::AddedToken;
using text::ModelSettings;
using text::Tokenizer;
using text::TokenizerSettings;
using text::Vocabulary;
using Kind = text::NormalizerStep::Kind;

constexpr std::int32_t kDefaultMaxLength = 512;  // positions of BERT
constexpr double kNoMaxLength = 1e6;  // transformers writes 1e30 for "none", older versions 1e12
constexpr int kPairSpecialTokens = 3;

bool has_file(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::exists(path, error);
}

// --- tokenizer_config.json

Result<std::int32_t> read_max_length(const JsonValue& config) {
  const JsonValue length = config["model_max_length"];
  if (!length.exists()) return kDefaultMaxLength;
  if (!length.raw().is_number()) return length.wrong("a number");
  const auto tokens = length.raw().get<double>();
  if (tokens >= kNoMaxLength) return kDefaultMaxLength;
  if (!(tokens >= kPairSpecialTokens)) {
    return invalid_input(fmt::format("{}: expected at least {} tokens, found {}", length.place(),
                                     kPairSpecialTokens, tokens));
  }
  return static_cast<std::int32_t>(tokens);
}

Result<void> check_truncation_side(const JsonValue& config) {
  RTAI_TRY(const std::string side, config["truncation_side"].string_or("right"));
  if (side == "right") return {};
  return unsupported(fmt::format("truncation_side '{}' is not supported; supported: right", side));
}

// --- writing

// Whether vocab.txt and a few flags say all of it.
bool is_bert(const TokenizerSettings& settings) {
  return settings.model.kind == ModelSettings::Kind::word_piece &&
         settings.splitter == text::bert_splitter() &&
         settings.normalizer == text::bert_normalizer(settings.normalizes(Kind::clean_text),
                                                      settings.normalizes(Kind::separate_chinese),
                                                      settings.normalizes(Kind::strip_marks),
                                                      settings.normalizes(Kind::lowercase));
}

json config_json(const Tokenizer& tokenizer) {
  const TokenizerSettings& settings = tokenizer.settings();
  json config = {
      {"tokenizer_class", is_bert(settings) ? "BertTokenizer" : "PreTrainedTokenizerFast"}};
  if (is_bert(settings)) {
    config["do_lower_case"] = settings.normalizes(Kind::lowercase);
    config["strip_accents"] = settings.normalizes(Kind::strip_marks);
    config["tokenize_chinese_chars"] = settings.normalizes(Kind::separate_chinese);
  }
  const std::pair<const char*, std::string_view> specials[] = {
      {"unk_token", settings.model.unknown},
      {"cls_token", tokenizer.token(tokenizer.class_id())},
      {"sep_token", tokenizer.token(tokenizer.separator_id())},
      {"pad_token", settings.pad},
      {"mask_token", settings.mask}};
  for (const auto& [key, token] : specials) {
    if (!token.empty()) config[key] = token;
  }
  if (settings.max_length == 0) {
    config["model_max_length"] = 1e30;
  } else {
    config["model_max_length"] = settings.max_length;
  }
  json decoder = json::object();
  for (const AddedToken& token : settings.added_tokens) {
    json flags = added_token_json(token);
    flags.erase("id");
    decoder[std::to_string(token.id)] = std::move(flags);
  }
  config["added_tokens_decoder"] = std::move(decoder);
  return config;
}

Result<std::string> vocabulary_lines(const Vocabulary& vocabulary) {
  std::string lines;
  for (std::size_t id = 0; id < vocabulary.size(); ++id) {
    const std::string_view piece = vocabulary.piece(id);
    if (piece.find('\n') != piece.npos || piece.ends_with('\r')) {
      return unsupported(fmt::format("piece {} holds a line end, which vocab.txt cannot hold", id));
    }
    lines += piece;
    lines += '\n';
  }
  return lines;
}

/// The file that holds a folder's vocabulary, and how it is read.
struct VocabularyFile {
  enum class Form { tokenizer_json, vocab_txt, sentencepiece, vocab_json };
  const char* name;
  Form form;
};
// Of several, the first: each says more than those after it.
constexpr VocabularyFile kVocabularyFiles[] = {
    {"tokenizer.json", VocabularyFile::Form::tokenizer_json},
    {"vocab.txt", VocabularyFile::Form::vocab_txt},
    {"spiece.model", VocabularyFile::Form::sentencepiece},
    {"sentencepiece.bpe.model", VocabularyFile::Form::sentencepiece},
    {"spm.model", VocabularyFile::Form::sentencepiece},
    {"vocab.json", VocabularyFile::Form::vocab_json}};

Result<Tokenizer> from_file(const std::filesystem::path& folder,
                            const VocabularyFile& vocabulary,
                            const JsonFile& config) {
  using Form = VocabularyFile::Form;
  const std::filesystem::path path = folder / vocabulary.name;
  if (vocabulary.form == Form::tokenizer_json) {
    RTAI_TRY(const JsonFile file, read_json(path));
    return from_tokenizer_json(file.root(), config.root()).in(file.name);
  }
  RTAI_TRY(const JsonFile special, read_json_if_there(folder / "special_tokens_map.json"));
  RTAI_TRY(const JsonFile added, read_json_if_there(folder / "added_tokens.json"));
  RTAI_TRY(const JsonFile model, read_json_if_there(folder / "config.json"));
  const SideFiles files{config.root(), special.root(), added.root(), model.root()};
  if (vocabulary.form == Form::vocab_json) {
    RTAI_TRY(const JsonFile pieces, read_json(path));
    RTAI_TRY(const MappedFile merges, MappedFile::open(folder / "merges.txt"));
    return from_bpe_files(pieces.root(), merges.text(), files).in(path.string());
  }
  RTAI_TRY(const MappedFile file, MappedFile::open(path));
  if (vocabulary.form == Form::sentencepiece) {
    return from_sentencepiece(file.bytes(), files).in(path.string());
  }
  return from_vocab_txt(file.text(), files).in(path.string());
}

}  // namespace

Result<std::optional<Tokenizer>> load_tokenizer(const std::filesystem::path& folder) {
  if (!has_file(folder)) return Error{ErrorCode::not_found, folder.string() + ": no such folder"};
  const auto* const vocabulary = std::find_if(
      std::begin(kVocabularyFiles), std::end(kVocabularyFiles),
      [&](const VocabularyFile& candidate) { return has_file(folder / candidate.name); });
  if (vocabulary == std::end(kVocabularyFiles)) return std::optional<Tokenizer>();

  for (const char* name : {vocabulary->name, "merges.txt", "tokenizer_config.json",
                           "special_tokens_map.json", "added_tokens.json", "config.json"}) {
    if (has_file(folder / name)) RTAI_TRY_VOID(expect_own_file(folder, name));
  }

  RTAI_TRY(const JsonFile config, read_json_if_there(folder / "tokenizer_config.json"));
  auto max_length = read_max_length(config.root()).in(config.name);
  if (!max_length) return std::move(max_length).error();
  RTAI_TRY_VOID(check_truncation_side(config.root()).in(config.name));
  RTAI_TRY(std::optional<Tokenizer> tokenizer, from_file(folder, *vocabulary, config));
  RTAI_TRY_VOID(tokenizer->set_max_length(*max_length));
  return tokenizer;
}

Result<void> save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder) {
  if (is_bert(tokenizer.settings())) {
    RTAI_TRY(const std::string lines, vocabulary_lines(tokenizer.vocabulary()));
    RTAI_TRY_VOID(write_file_atomically(folder / "vocab.txt", lines));
  }
  RTAI_TRY_VOID(write_file_atomically(folder / "tokenizer_config.json",
                                      config_json(tokenizer).dump(2) + "\n"));
  return write_file_atomically(folder / "tokenizer.json",
                               to_tokenizer_json(tokenizer).dump() + "\n");
}

}  // namespace rtai::tools
