#include "tools/tokenizer_files.h"

#include "runtime/base/mapped_file.h"
#include "tools/json_file.h"

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
using text::Tokenizer;
using text::Vocabulary;
using text::WordPieceSettings;

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

// Special tokens are strings, or objects with their flags.
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

// --- tokenizer.json

Error unsupported_kind(std::string_view part, std::string_view kind, std::string_view supported) {
  return unsupported(
      fmt::format("tokenizer {} '{}' is not supported; supported: {}", part, kind, supported));
}

Result<std::string> kind_of(const JsonValue& part) {
  if (!part.exists()) return std::string("none");
  RTAI_TRY_VOID(part.expect_object());
  return part["type"].string_or("none");
}

Result<void> read_normalizer(const JsonValue& normalizer, WordPieceSettings& settings) {
  if (!normalizer.exists()) {
    settings.clean_text = settings.handle_chinese_chars = false;
    settings.strip_accents = settings.lowercase = false;
    return {};
  }
  RTAI_TRY(const std::string kind, kind_of(normalizer));
  if (kind != "BertNormalizer") return unsupported_kind("normalizer", kind, "BertNormalizer");
  RTAI_TRY(settings.clean_text, normalizer["clean_text"].boolean_or(true));
  RTAI_TRY(settings.handle_chinese_chars, normalizer["handle_chinese_chars"].boolean_or(true));
  RTAI_TRY(settings.lowercase, normalizer["lowercase"].boolean_or(true));
  RTAI_TRY(settings.strip_accents, normalizer["strip_accents"].boolean_or(settings.lowercase));
  return {};
}

// Files of old versions have no type.
bool is_word_piece(const JsonValue& model, std::string_view kind) {
  if (kind != "none") return kind == "WordPiece";
  return model["max_input_chars_per_word"].exists() && !model["merges"].exists();
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

Result<std::vector<std::string>> read_model(const JsonValue& model, WordPieceSettings& settings) {
  RTAI_TRY(const std::string kind, kind_of(model));
  if (!is_word_piece(model, kind)) return unsupported_kind("model", kind, "WordPiece");
  RTAI_TRY(settings.unknown, model["unk_token"].string_or("[UNK]"));
  RTAI_TRY(settings.continuation, model["continuing_subword_prefix"].string_or("##"));
  if (const JsonValue limit = model["max_input_chars_per_word"]; limit.exists()) {
    RTAI_TRY(settings.max_chars_per_word, limit.count());
  }
  return read_vocabulary(model["vocab"]);
}

// One step of a template: "[CLS]:0", "A:0", ...
Result<std::string> read_template_step(const JsonValue& step) {
  const bool is_special = step["SpecialToken"].exists();
  const JsonValue content = step[is_special ? "SpecialToken" : "Sequence"];
  RTAI_TRY(const std::string id, content["id"].string());
  RTAI_TRY(const std::int32_t segment, content["type_id"].count());
  return fmt::format("{}{}:{}", is_special ? "" : "$", id, segment);
}

Result<std::vector<std::string>> read_template(const JsonValue& steps) {
  RTAI_TRY(const std::vector<JsonValue> elements, steps.elements());
  std::vector<std::string> result;
  for (const JsonValue& element : elements) {
    RTAI_TRY(std::string step, read_template_step(element));
    result.push_back(std::move(step));
  }
  return result;
}

// The token of "[CLS]:0".
std::string token_of(std::string_view step) {
  return std::string(step.substr(0, step.size() - std::min<std::size_t>(step.size(), 2)));
}

struct FrameToken {
  std::string content;
  std::int32_t id;
};

Result<FrameToken> read_frame_token(const JsonValue& pair) {
  RTAI_TRY(const std::vector<JsonValue> elements, pair.elements());
  if (elements.size() != 2) return pair.wrong("a token and its id");
  FrameToken token;
  RTAI_TRY(token.content, elements[0].string());
  RTAI_TRY(token.id, elements[1].count());
  return token;
}

Result<FrameToken> read_template_token(const JsonValue& processor, const std::string& content) {
  const JsonValue ids = processor["special_tokens"][content]["ids"];
  RTAI_TRY(const std::vector<JsonValue> elements, ids.elements());
  if (elements.size() != 1) return ids.wrong("one id");
  RTAI_TRY(const std::int32_t id, elements[0].count());
  return FrameToken{content, id};
}

// The tokens around a text, class token first. Only BERT's frame is known:
// [CLS] A [SEP], [CLS] A [SEP] B [SEP], B and what follows in segment 1.
Result<std::array<FrameToken, 2>> read_frame(const JsonValue& processor) {
  RTAI_TRY(const std::string kind, kind_of(processor));
  if (kind == "BertProcessing") {
    RTAI_TRY(FrameToken first, read_frame_token(processor["cls"]));
    RTAI_TRY(FrameToken last, read_frame_token(processor["sep"]));
    return std::array{std::move(first), std::move(last)};
  }
  if (kind != "TemplateProcessing") {
    return unsupported_kind("post_processor", kind, "BertProcessing, TemplateProcessing");
  }
  RTAI_TRY(const std::vector<std::string> single, read_template(processor["single"]));
  RTAI_TRY(const std::vector<std::string> pair, read_template(processor["pair"]));
  const std::string first = single.empty() ? "" : token_of(single.front());
  const std::string last = single.empty() ? "" : token_of(single.back());
  const std::vector<std::string> bert_single = {first + ":0", "$A:0", last + ":0"};
  const std::vector<std::string> bert_pair = {first + ":0", "$A:0", last + ":0", "$B:1",
                                              last + ":1"};
  if (single != bert_single) {
    return unsupported_kind("template", fmt::format("{}", fmt::join(single, " ")),
                            "[CLS]:0 $A:0 [SEP]:0");
  }
  if (pair != bert_pair) {
    return unsupported_kind("template", fmt::format("{}", fmt::join(pair, " ")),
                            "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1");
  }
  RTAI_TRY(FrameToken class_token, read_template_token(processor, first));
  RTAI_TRY(FrameToken separator, read_template_token(processor, last));
  return std::array{std::move(class_token), std::move(separator)};
}

Result<void> check_frame(const Tokenizer& tokenizer, const std::array<FrameToken, 2>& frame) {
  for (const FrameToken& token : frame) {
    const auto id = tokenizer.id_of(token.content);
    if (id == token.id) continue;
    return invalid(fmt::format("post_processor: expected id {} for '{}', found {}", id.value_or(-1),
                               token.content, token.id));
  }
  return {};
}

Result<Tokenizer> from_tokenizer_json(const JsonValue& root, const JsonValue& config) {
  WordPieceSettings settings;
  RTAI_TRY(const std::string version, root["version"].string_or("1.0"));
  if (version != "1.0") return unsupported_kind("version", version, "1.0");
  RTAI_TRY(const std::vector<std::string> pieces, read_model(root["model"], settings));
  RTAI_TRY_VOID(read_normalizer(root["normalizer"], settings));
  RTAI_TRY(const std::string splitter, kind_of(root["pre_tokenizer"]));
  if (splitter != "BertPreTokenizer") {
    return unsupported_kind("pre_tokenizer", splitter, "BertPreTokenizer");
  }
  RTAI_TRY(const auto frame, read_frame(root["post_processor"]));
  settings.class_token = frame[0].content;
  settings.separator = frame[1].content;
  if (const JsonValue added = root["added_tokens"]; added.exists()) {
    RTAI_TRY(const std::vector<JsonValue> elements, added.elements());
    for (const JsonValue& element : elements) {
      RTAI_TRY(const std::int32_t id, element["id"].count());
      RTAI_TRY(AddedToken token, read_added_token(element, id));
      settings.added_tokens.push_back(std::move(token));
    }
  }
  RTAI_TRY(settings.pad, read_token(config["pad_token"], settings.pad));
  RTAI_TRY(settings.mask, read_token(config["mask_token"], settings.mask));
  RTAI_TRY(Tokenizer tokenizer, Tokenizer::create(pieces, std::move(settings)));
  RTAI_TRY_VOID(check_frame(tokenizer, frame));
  return tokenizer;
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

json added_token_json(const AddedToken& token) {
  return {{"id", token.id},
          {"content", token.content},
          {"special", token.special},
          {"single_word", token.single_word},
          {"lstrip", token.lstrip},
          {"rstrip", token.rstrip},
          {"normalized", token.normalized}};
}

json tokenizer_json(const Tokenizer& tokenizer) {
  const WordPieceSettings& settings = tokenizer.settings();
  json vocab = json::object();
  for (std::size_t id = 0; id < tokenizer.vocabulary().size(); ++id) {
    const std::string_view piece = tokenizer.vocabulary().piece(id);
    if (!piece.empty()) vocab[std::string(piece)] = id;  // of equal pieces the last counts
  }
  json added = json::array();
  for (const AddedToken& token : settings.added_tokens)
    added.push_back(added_token_json(token));
  return {
      {"version", "1.0"},
      {"truncation", nullptr},
      {"padding", nullptr},
      {"added_tokens", std::move(added)},
      {"normalizer",
       {{"type", "BertNormalizer"},
        {"clean_text", settings.clean_text},
        {"handle_chinese_chars", settings.handle_chinese_chars},
        {"strip_accents", settings.strip_accents},
        {"lowercase", settings.lowercase}}},
      {"pre_tokenizer", {{"type", "BertPreTokenizer"}}},
      {"post_processor",
       {{"type", "BertProcessing"},
        {"sep", json::array({settings.separator, tokenizer.separator_id()})},
        {"cls", json::array({settings.class_token, tokenizer.class_id()})}}},
      {"decoder", {{"type", "WordPiece"}, {"prefix", settings.continuation}, {"cleanup", true}}},
      {"model",
       {{"type", "WordPiece"},
        {"unk_token", settings.unknown},
        {"continuing_subword_prefix", settings.continuation},
        {"max_input_chars_per_word", settings.max_chars_per_word},
        {"vocab", std::move(vocab)}}}};
}

json config_json(const Tokenizer& tokenizer) {
  const WordPieceSettings& settings = tokenizer.settings();
  json config = {{"tokenizer_class", "BertTokenizer"},
                 {"do_lower_case", settings.lowercase},
                 {"strip_accents", settings.strip_accents},
                 {"tokenize_chinese_chars", settings.handle_chinese_chars},
                 {"unk_token", settings.unknown},
                 {"cls_token", settings.class_token},
                 {"sep_token", settings.separator},
                 {"pad_token", settings.pad},
                 {"mask_token", settings.mask}};
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

}  // namespace

Result<std::optional<Tokenizer>> load_tokenizer(const std::filesystem::path& folder) {
  if (!has_file(folder)) return Error{ErrorCode::not_found, folder.string() + ": no such folder"};
  const bool has_json = has_file(folder / "tokenizer.json");
  if (!has_json && !has_file(folder / "vocab.txt")) return std::optional<Tokenizer>();

  RTAI_TRY(const JsonFile config, read_json_if_there(folder / "tokenizer_config.json"));
  auto max_length = read_max_length(config.root()).in(config.name);
  if (!max_length) return std::move(max_length).error();
  RTAI_TRY_VOID(check_truncation_side(config.root()).in(config.name));

  std::optional<Tokenizer> tokenizer;
  if (has_json) {
    RTAI_TRY(const JsonFile file, read_json(folder / "tokenizer.json"));
    RTAI_TRY(tokenizer, from_tokenizer_json(file.root(), config.root()).in(file.name));
  } else {
    const std::filesystem::path path = folder / "vocab.txt";
    RTAI_TRY(const JsonFile special, read_json_if_there(folder / "special_tokens_map.json"));
    RTAI_TRY(const JsonFile added, read_json_if_there(folder / "added_tokens.json"));
    RTAI_TRY(const MappedFile file, MappedFile::open(path));
    const SideFiles files{config.root(), special.root(), added.root()};
    RTAI_TRY(tokenizer, from_vocabulary(file.text(), files).in(path.string()));
  }
  RTAI_TRY_VOID(tokenizer->set_max_length(*max_length));
  return tokenizer;
}

Result<void> save_tokenizer(const Tokenizer& tokenizer, const std::filesystem::path& folder) {
  RTAI_TRY(const std::string lines, vocabulary_lines(tokenizer.vocabulary()));
  RTAI_TRY_VOID(write_file_atomically(folder / "vocab.txt", lines));
  RTAI_TRY_VOID(write_file_atomically(folder / "tokenizer_config.json",
                                      config_json(tokenizer).dump(2) + "\n"));
  return write_file_atomically(folder / "tokenizer.json", tokenizer_json(tokenizer).dump() + "\n");
}

}  // namespace rtai::tools
