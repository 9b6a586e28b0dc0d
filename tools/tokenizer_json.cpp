#include "tools/tokenizer_json.h"

#include "tools/internal/tokenizer_json_parts.h"

#include <fmt/format.h>

#include <string>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using text::AddedToken;
using text::FrameStep;
using text::ModelSettings;
using text::Tokenizer;
using text::TokenizerSettings;

Result<void> check_frame_tokens(const Tokenizer& tokenizer, const std::vector<NamedToken>& tokens) {
  for (const NamedToken& token : tokens) {
    const auto id = tokenizer.id_of(token.content);
    if (id == token.id) continue;
    return invalid_input(fmt::format("post_processor: expected id {} for '{}', found {}",
                                     id.value_or(-1), token.content, token.id));
  }
  return {};
}

}  // namespace

Result<std::string> kind_of(const JsonValue& part) {
  if (!part.exists()) return std::string("none");
  RTAI_TRY_VOID(part.expect_object());
  return part["type"].string_or("none");
}

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

Result<std::vector<AddedToken>> read_added_tokens_decoder(const JsonValue& decoder) {
  RTAI_TRY_VOID(decoder.expect_object());
  std::vector<AddedToken> tokens;
  for (const auto& [key, value] : decoder.raw().items()) {
    const bool is_number =
        !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!is_number)
      return invalid_input(fmt::format("{}: '{}' is not an id", decoder.place(), key));
    const auto id = static_cast<std::int32_t>(std::stol(key));
    RTAI_TRY(AddedToken token, read_added_token(decoder[key], id));
    tokens.push_back(std::move(token));
  }
  return tokens;
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
