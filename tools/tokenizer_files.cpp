#include "tools/tokenizer_files.h"

#include "runtime/base/mapped_file.h"
#include "tools/json_file.h"
#include "tools/own_file.h"
#include "tools/tokenizer_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <unordered_map>
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
using text::WordPieceSettings;
using Kind = text::NormalizerStep::Kind;

constexpr std::int32_t kDefaultMaxLength = 512;  // positions of BERT
constexpr double kNoMaxLength = 1e6;  // transformers writes 1e30 for "none", older versions 1e12
constexpr int kPairSpecialTokens = 3;

Error invalid(std::string message) {
  return {ErrorCode::invalid_input, std::move(message)};
}
Error unsupported(std::string message) {
  return {ErrorCode::unsupported, std::move(message)};
}

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
    return invalid(fmt::format("{}: expected at least {} tokens, found {}", length.place(),
                               kPairSpecialTokens, tokens));
  }
  return static_cast<std::int32_t>(tokens);
}

Result<void> check_truncation_side(const JsonValue& config) {
  RTAI_TRY(const std::string side, config["truncation_side"].string_or("right"));
  if (side == "right") return {};
  return unsupported(fmt::format("truncation_side '{}' is not supported; supported: right", side));
}

// --- vocab.txt

// Lines as Python reads them; an empty one leaves its id unused.
Result<std::vector<std::string>> split_lines(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    if (lines.size() == Vocabulary::kMaxPieces) {
      return invalid(fmt::format("more than {} lines", Vocabulary::kMaxPieces));
    }
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// Classes whose vocab.txt is split as BERT's. Others bring their own splitter (BertJapanese) or
// their own special tokens (MPNet).
Result<void> check_class(const JsonValue& config) {
  constexpr std::string_view kKnown[] = {"Bert",     "DistilBert", "Electra", "MobileBert",
                                         "ConvBert", "LayoutLM",   "Lxmert",  "SqueezeBert"};
  RTAI_TRY(const std::string name, config["tokenizer_class"].string_or("BertTokenizer"));
  for (const std::string_view known : kKnown) {
    const std::string plain = std::string(known) + "Tokenizer";
    if (name == plain || name == plain + "Fast") return {};
  }
  return unsupported_kind("class", name,
                          fmt::format("{} (each + Tokenizer)", fmt::join(kKnown, ", ")));
}

// The added tokens that several files name, by content.
class TokenTable {
 public:
  explicit TokenTable(std::span<const std::string> pieces) {
    // Of equal pieces the last counts.
    for (std::size_t id = 0; id < pieces.size(); ++id) {
      ids_[pieces[id]] = static_cast<std::int32_t>(id);
    }
  }

  void put(AddedToken token) { tokens_.insert_or_assign(token.content, token); }
  bool has(const std::string& content) const { return tokens_.contains(content); }
  /// A special token without an id of its own; false if the vocabulary does not have it.
  bool put_special(const std::string& content) {
    const auto piece = ids_.find(content);
    if (piece == ids_.end()) return false;
    put({.content = content, .id = piece->second, .special = true});
    return true;
  }
  std::vector<AddedToken> take() {
    std::vector<AddedToken> tokens;
    for (auto& [content, token] : tokens_)
      tokens.push_back(std::move(token));
    std::stable_sort(tokens.begin(), tokens.end(),
                     [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
    return tokens;
  }

 private:
  std::unordered_map<std::string_view, std::int32_t> ids_;  // only asked, so its order is no matter
  std::map<std::string, AddedToken> tokens_;
};

Result<void> add_decoder_tokens(const JsonValue& decoder, TokenTable& tokens) {
  if (!decoder.exists()) return {};
  RTAI_TRY_VOID(decoder.expect_object());
  for (const auto& [key, value] : decoder.raw().items()) {
    const bool is_number =
        !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number) return invalid(fmt::format("{}: '{}' is not an id", decoder.place(), key));
    const auto id = static_cast<std::int32_t>(std::stol(key));
    RTAI_TRY(AddedToken token, read_added_token(decoder[key], id));
    tokens.put(std::move(token));
  }
  return {};
}

// The file of older versions: content to id, without flags.
Result<void> add_legacy_tokens(const JsonValue& ids, TokenTable& tokens) {
  for (const auto& [content, value] : ids.raw().items()) {
    RTAI_TRY(const std::int32_t id, ids[content].count());
    if (!tokens.has(content)) tokens.put({.content = content, .id = id, .normalized = true});
  }
  return {};
}

// Tokens that the files call special without an id: the vocabulary must have them. A list, or an
// object whose keys are names for them.
Result<void> add_unnumbered_tokens(const JsonValue& names, TokenTable& tokens) {
  if (!names.exists()) return {};
  RTAI_TRY(const std::vector<JsonValue> elements, names.elements_or_members());
  for (const JsonValue& element : elements) {
    RTAI_TRY(const std::string content, read_token(element, ""));
    if (tokens.has(content) || tokens.put_special(content)) continue;
    return invalid(fmt::format("{}: '{}' is not in the vocabulary", element.place(), content));
  }
  return {};
}

struct SideFiles {
  JsonValue config;   // tokenizer_config.json
  JsonValue special;  // special_tokens_map.json
  JsonValue added;    // added_tokens.json

  // The newer file counts.
  JsonValue either(const std::string& key) const {
    return config[key].exists() ? config[key] : special[key];
  }
};

Result<Tokenizer> from_vocabulary(std::string_view vocabulary, const SideFiles& files) {
  RTAI_TRY_VOID(check_class(files.config));
  RTAI_TRY(const std::vector<std::string> pieces, split_lines(vocabulary));
  WordPieceSettings settings;
  RTAI_TRY(settings.lowercase, files.config["do_lower_case"].boolean_or(true));
  RTAI_TRY(settings.strip_accents, files.config["strip_accents"].boolean_or(settings.lowercase));
  RTAI_TRY(settings.handle_chinese_chars, files.config["tokenize_chinese_chars"].boolean_or(true));

  TokenTable tokens(pieces);
  const std::pair<const char*, std::string*> specials[] = {{"unk_token", &settings.unknown},
                                                           {"cls_token", &settings.class_token},
                                                           {"sep_token", &settings.separator},
                                                           {"pad_token", &settings.pad},
                                                           {"mask_token", &settings.mask}};
  for (const auto& [key, token] : specials) {
    RTAI_TRY(*token, read_token(files.either(key), *token));
    tokens.put_special(*token);  // the tokenizer will say which it cannot do without
  }
  RTAI_TRY_VOID(add_decoder_tokens(files.config["added_tokens_decoder"], tokens));
  RTAI_TRY_VOID(add_legacy_tokens(files.added, tokens));
  RTAI_TRY_VOID(add_unnumbered_tokens(files.either("additional_special_tokens"), tokens));
  RTAI_TRY_VOID(add_unnumbered_tokens(files.either("extra_special_tokens"), tokens));
  settings.added_tokens = tokens.take();
  return Tokenizer::create(pieces, std::move(settings));
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

// Files that say the same as a tokenizer.json but less plainly.
Result<void> check_other_forms(const std::filesystem::path& folder) {
  for (const char* name : {"vocab.json", "spiece.model", "sentencepiece.bpe.model"}) {
    if (!has_file(folder / name)) continue;
    return unsupported(
        fmt::format("{}: a tokenizer of this form is not supported; supported: "
                    "tokenizer.json, which Transformers writes when it saves one",
                    (folder / name).string()));
  }
  return {};
}

}  // namespace

Result<std::optional<Tokenizer>> load_tokenizer(const std::filesystem::path& folder) {
  if (!has_file(folder)) return Error{ErrorCode::not_found, folder.string() + ": no such folder"};
  const bool has_json = has_file(folder / "tokenizer.json");
  if (!has_json && !has_file(folder / "vocab.txt")) {
    RTAI_TRY_VOID(check_other_forms(folder));
    return std::optional<Tokenizer>();
  }

  const auto read_own = [&](const char* name) -> Result<JsonFile> {
    if (!has_file(folder / name)) return JsonFile{json::object(), (folder / name).string()};
    RTAI_TRY_VOID(expect_own_file(folder, name));
    return read_json(folder / name);
  };
  RTAI_TRY(const JsonFile config, read_own("tokenizer_config.json"));
  auto max_length = read_max_length(config.root()).in(config.name);
  if (!max_length) return std::move(max_length).error();
  RTAI_TRY_VOID(check_truncation_side(config.root()).in(config.name));

  std::optional<Tokenizer> tokenizer;
  if (has_json) {
    RTAI_TRY(const JsonFile file, read_own("tokenizer.json"));
    RTAI_TRY(tokenizer, from_tokenizer_json(file.root(), config.root()).in(file.name));
  } else {
    const std::filesystem::path path = folder / "vocab.txt";
    RTAI_TRY(const JsonFile special, read_own("special_tokens_map.json"));
    RTAI_TRY(const JsonFile added, read_own("added_tokens.json"));
    RTAI_TRY_VOID(expect_own_file(folder, "vocab.txt"));
    RTAI_TRY(const MappedFile file, MappedFile::open(path));
    const SideFiles files{config.root(), special.root(), added.root()};
    RTAI_TRY(tokenizer, from_vocabulary(file.text(), files).in(path.string()));
  }
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
