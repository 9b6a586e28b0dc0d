// vocab.json and merges.txt: byte pair encoding of bytes.
#include "tools/internal/tokenizer_json_parts.h"
#include "tools/internal/tokenizer_side_files.h"
#include "tools/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include <string>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using text::AddedToken;
using text::FrameStep;
using text::SplitterStep;
using text::Tokenizer;
using text::TokenizerSettings;
using Name = TokenCollection::Name;

// What a class names where its files do not. Source: tokenization_roberta.py, tokenization_gpt2.py.
TokenCollection::Defaults roberta_tokens() {
  TokenCollection::Defaults tokens;
  for (const auto& [name, content] :
       {std::pair(Name::bos, "<s>"), std::pair(Name::eos, "</s>"), std::pair(Name::unk, "<unk>"),
        std::pair(Name::sep, "</s>"), std::pair(Name::pad, "<pad>"), std::pair(Name::cls, "<s>"),
        std::pair(Name::mask, "<mask>")})
    tokens[name] = TokenCollection::plain(content);
  return tokens;
}

TokenCollection::Defaults gpt2_tokens() {
  TokenCollection::Defaults tokens;
  for (const Name name : {Name::bos, Name::eos, Name::unk})
    tokens[name] = TokenCollection::plain("<|endoftext|>");
  return tokens;
}

Result<void> set_roberta_frame(const TokenCollection& tokens, TokenizerSettings& settings) {
  RTAI_TRY(const std::int32_t cls, tokens.id(Name::cls, settings.added_tokens));
  RTAI_TRY(const std::int32_t sep, tokens.id(Name::sep, settings.added_tokens));
  settings.single = {{cls, 0}, {FrameStep::kFirst, 0}, {sep, 0}};
  settings.pair = settings.single;
  settings.pair.insert(settings.pair.end(), {{sep, 0}, {FrameStep::kSecond, 0}, {sep, 0}});
  return {};
}

Result<void> set_gpt2_frame(const SideFiles& files,
                            const TokenCollection& tokens,
                            TokenizerSettings& settings) {
  settings.single = {{FrameStep::kFirst, 0}};
  settings.pair = {{FrameStep::kFirst, 0}, {FrameStep::kSecond, 1}};
  RTAI_TRY(const bool begins, files.config["add_bos_token"].boolean_or(false));
  RTAI_TRY(const bool ends, files.config["add_eos_token"].boolean_or(false));
  if (ends) return Error{ErrorCode::unsupported, "tokenizer option add_eos_token is not supported"};
  if (!begins) return {};
  RTAI_TRY(const std::int32_t bos, tokens.id(Name::bos, settings.added_tokens));
  settings.single.insert(settings.single.begin(), {bos, 0});
  settings.pair = {{bos, 0}, {FrameStep::kFirst, 0}, {bos, 1}, {FrameStep::kSecond, 1}};
  return {};
}

}  // namespace

Result<Tokenizer> from_bpe_files(const JsonValue& vocabulary,
                                 std::string_view merges,
                                 const SideFiles& files) {
  RTAI_TRY(const std::string name, tokenizer_class(files));
  const bool gpt2 = name == "GPT2Tokenizer";
  if (!gpt2 && name != "RobertaTokenizer" && name != "BartTokenizer" && name != "LEDTokenizer" &&
      name != "LongformerTokenizer") {
    return unsupported_kind("class of vocab.json", name,
                            "BartTokenizer, GPT2Tokenizer, LEDTokenizer, LongformerTokenizer, "
                            "RobertaTokenizer");
  }
  TokenizerSettings settings;
  settings.model.byte_level = true;
  RTAI_TRY(const std::vector<std::string> pieces,
           read_bpe_files(vocabulary, merges, settings.model));
  RTAI_TRY(const TokenCollection tokens,
           TokenCollection::create(files, gpt2 ? gpt2_tokens() : roberta_tokens(), {}));
  settings.added_tokens = tokens.numbered(pieces);
  settings.pad = tokens[Name::pad];
  settings.mask = tokens[Name::mask];

  RTAI_TRY(const bool prefix, files.config["add_prefix_space"].boolean_or(false));
  settings.splitter = {
      {.prefix = prefix ? SplitterStep::Prefix::always : SplitterStep::Prefix::never,
       .pattern = SplitterStep::Pattern::gpt2}};
  if (gpt2) {
    RTAI_TRY_VOID(set_gpt2_frame(files, tokens, settings));
  } else {
    RTAI_TRY(settings.trim_offsets, files.config["trim_offsets"].boolean_or(true));
    settings.trim_keeps_prefix = prefix;
    RTAI_TRY_VOID(set_roberta_frame(tokens, settings));
  }
  return Tokenizer::create(pieces, std::move(settings));
}

}  // namespace rtai::tools
