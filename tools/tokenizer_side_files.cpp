#include "tools/internal/tokenizer_side_files.h"

#include "tools/tokenizer_json.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <unordered_map>
#include <utility>

namespace rtai::tools {
namespace {

using text::AddedToken;

constexpr std::array<const char*, TokenCollection::kNames> kKeys = {
    "bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"};

// A string, or an object with flags; those of special_tokens_map.json do not say "special".
Result<AddedToken> read_special(const JsonValue& value, bool from_map) {
  if (value.is_string()) {
    RTAI_TRY(std::string content, value.string());
    return TokenCollection::plain(std::move(content));
  }
  RTAI_TRY(AddedToken token, read_added_token(value, 0));
  if (!from_map) return token;
  token.special = true;
  RTAI_TRY(token.normalized, value["normalized"].boolean_or(false));
  return token;
}

Result<std::vector<AddedToken>> read_list(const JsonValue& list, bool from_map) {
  if (!list.exists()) return std::vector<AddedToken>();
  RTAI_TRY(const std::vector<JsonValue> elements, list.elements_or_members());
  std::vector<AddedToken> tokens;
  for (const JsonValue& element : elements) {
    RTAI_TRY(AddedToken token, read_special(element, from_map));
    tokens.push_back(std::move(token));
  }
  return tokens;
}

void sort_by_id(std::vector<AddedToken>& tokens) {
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
}

bool holds(const std::vector<AddedToken>& tokens, const std::string& content) {
  return std::any_of(tokens.begin(), tokens.end(),
                     [&](const AddedToken& token) { return token.content == content; });
}

}  // namespace

Result<std::string> tokenizer_class(const SideFiles& files) {
  RTAI_TRY(std::string name, files.config["tokenizer_class"].string_or(""));
  if (name.empty() || name == "PreTrainedTokenizerFast" || name == "TokenizersBackend") {
    RTAI_TRY(name, files.model["tokenizer_class"].string_or(""));
  }
  if (name.ends_with("Fast")) name.resize(name.size() - 4);
  if (!name.empty()) return name;
  constexpr std::pair<std::string_view, const char*> kClasses[] = {
      {"albert", "AlbertTokenizer"},
      {"bart", "BartTokenizer"},
      {"camembert", "CamembertTokenizer"},
      {"deberta-v2", "DebertaV2Tokenizer"},
      {"gpt2", "GPT2Tokenizer"},
      {"led", "LEDTokenizer"},
      {"longformer", "LongformerTokenizer"},
      {"roberta", "RobertaTokenizer"},
      {"xlm-roberta", "XLMRobertaTokenizer"}};
  RTAI_TRY(const std::string type, files.model["model_type"].string_or(""));
  for (const auto& [known, found] : kClasses) {
    if (type == known) return std::string(found);
  }
  return invalid_input(
      "expected tokenizer_class in tokenizer_config.json, or a model_type in config.json that has "
      "one");
}

Result<std::vector<std::string>> split_lines(std::string_view text, std::size_t limit) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    if (lines.size() == limit) return invalid_input(fmt::format("more than {} lines", limit));
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    if (line.ends_with('\r')) line.remove_suffix(1);
    lines.emplace_back(line);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

AddedToken TokenCollection::plain(std::string content) {
  return {.content = std::move(content), .special = true};
}

Result<TokenCollection> TokenCollection::create(const SideFiles& files,
                                                const Defaults& defaults,
                                                std::vector<AddedToken> others) {
  const JsonValue decoder = files.config["added_tokens_decoder"];
  const bool has_decoder = decoder.exists();
  std::vector<AddedToken> numbered;
  if (has_decoder) {
    RTAI_TRY(numbered, read_added_tokens_decoder(decoder));
  }

  // Other tokens are those of the files, where they list any, however few.
  const JsonValue extra = files.config["extra_special_tokens"];
  const JsonValue additional = files.config["additional_special_tokens"];
  const bool lists = extra.exists() && !extra.raw().empty();
  if (lists || additional.exists()) {
    RTAI_TRY(others, read_list(lists ? extra : additional, false));
  }

  TokenCollection all;
  std::vector<AddedToken> named;
  for (std::size_t i = 0; i < kNames; ++i) {
    const bool from_map = !has_decoder && files.special[kKeys[i]].exists();
    const JsonValue value = from_map ? files.special[kKeys[i]] : files.config[kKeys[i]];
    if (!value.exists() && !defaults[i]) continue;
    AddedToken token = defaults[i].value_or(AddedToken());
    if (value.exists()) {
      RTAI_TRY(token, read_special(value, from_map));
    }
    all.names_[i] = token.content;
    named.push_back(std::move(token));
  }
  if (!has_decoder && files.added.exists()) {
    for (const auto& [content, value] : files.added.raw().items()) {
      RTAI_TRY(const std::int32_t id, files.added[content].count());
      const bool special = holds(named, content) || holds(others, content);
      numbered.push_back(
          {.content = content, .id = id, .special = special, .normalized = !special});
    }
  }
  sort_by_id(numbered);
  for (AddedToken& token : numbered)
    all.put(std::move(token));
  // What the numbered ones say of a token counts; of the rest, what comes last.
  const std::vector<AddedToken> first = all.tokens_;
  for (std::vector<AddedToken>* more : {&named, &others}) {
    for (AddedToken& token : *more) {
      if (!holds(first, token.content)) all.put(std::move(token));
    }
  }
  for (AddedToken& token : all.tokens_)
    token.special |=
        std::find(all.names_.begin(), all.names_.end(), token.content) != all.names_.end();
  return all;
}

void TokenCollection::put(AddedToken token) {
  const auto same = std::find_if(tokens_.begin(), tokens_.end(), [&](const AddedToken& other) {
    return other.content == token.content;
  });
  if (same != tokens_.end()) {
    *same = std::move(token);
  } else if (!token.content.empty()) {
    tokens_.push_back(std::move(token));
  }
}

Result<std::int32_t> TokenCollection::id(Name name, std::span<const AddedToken> numbered) const {
  for (const AddedToken& token : numbered) {
    if (token.content == names_[name]) return token.id;
  }
  return invalid_input(fmt::format("expected a {}, found nothing", kKeys[name]));
}

std::vector<AddedToken> TokenCollection::numbered(std::span<const std::string> pieces) const {
  std::unordered_map<std::string_view, std::int32_t> ids;  // only asked, so its order is no matter
  for (std::size_t id = 0; id < pieces.size(); ++id)
    ids[pieces[id]] = static_cast<std::int32_t>(id);  // of equal pieces the last counts
  std::vector<AddedToken> tokens = tokens_;
  auto next = static_cast<std::int32_t>(pieces.size());
  for (AddedToken& token : tokens) {
    const auto piece = ids.find(token.content);
    token.id = piece != ids.end() ? piece->second : next++;
  }
  sort_by_id(tokens);
  return tokens;
}

}  // namespace rtai::tools
