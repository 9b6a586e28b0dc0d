// vocab.txt: WordPiece, split as BERT's.
#include "tools/internal/tokenizer_side_files.h"
#include "tools/tokenizer_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using text::AddedToken;
using text::Tokenizer;
using text::Vocabulary;
using text::WordPieceSettings;

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
  RTAI_TRY(std::vector<AddedToken> all, read_added_tokens_decoder(decoder));
  for (AddedToken& token : all)
    tokens.put(std::move(token));
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
    return invalid_input(
        fmt::format("{}: '{}' is not in the vocabulary", element.place(), content));
  }
  return {};
}

}  // namespace

Result<Tokenizer> from_vocab_txt(std::string_view vocabulary, const SideFiles& files) {
  RTAI_TRY_VOID(check_class(files.config));
  // An empty line leaves its id unused.
  RTAI_TRY(const std::vector<std::string> pieces, split_lines(vocabulary, Vocabulary::kMaxPieces));
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

}  // namespace rtai::tools
