// post_processor: the frames around texts.
#include "tools/internal/tokenizer_json_parts.h"
#include "tools/tokenizer_json.h"

#include <nlohmann/json.hpp>

#include <string>
#include <utility>
#include <vector>

namespace rtai::tools {
namespace {

using text::FrameStep;
using text::ModelSettings;
using text::TokenizerSettings;

Result<NamedToken> read_named_token(const JsonValue& pair) {
  RTAI_TRY(const std::vector<JsonValue> elements, pair.elements());
  if (elements.size() != 2) return pair.wrong("a token and its id");
  NamedToken token;
  RTAI_TRY(token.content, elements[0].string());
  RTAI_TRY(token.id, elements[1].count());
  return token;
}

Result<void> read_template(const JsonValue& steps,
                           const JsonValue& special_tokens,
                           std::vector<FrameStep>& frame,
                           Frames& frames) {
  RTAI_TRY(const std::vector<JsonValue> elements, steps.elements());
  for (const JsonValue& element : elements) {
    const bool is_special = element["SpecialToken"].exists();
    const JsonValue content = element[is_special ? "SpecialToken" : "Sequence"];
    RTAI_TRY(const std::string name, content["id"].string());
    RTAI_TRY(const std::int32_t segment, content["type_id"].count());
    if (!is_special) {
      if (name != "A" && name != "B") return content["id"].wrong("A or B");
      frame.push_back({name == "A" ? FrameStep::kFirst : FrameStep::kSecond, segment});
      continue;
    }
    const JsonValue entry = special_tokens[name];
    RTAI_TRY(const std::vector<JsonValue> ids, entry["ids"].elements());
    RTAI_TRY(const std::vector<JsonValue> names, entry["tokens"].elements());
    if (ids.size() != names.size()) return entry["tokens"].wrong("a token for each id");
    for (std::size_t i = 0; i < ids.size(); ++i) {
      NamedToken token;
      RTAI_TRY(token.id, ids[i].count());
      RTAI_TRY(token.content, names[i].string());
      frame.push_back({token.id, segment});
      frames.tokens.push_back(std::move(token));
    }
  }
  return {};
}

Result<void> read_trimming(const JsonValue& processor, TokenizerSettings& settings) {
  RTAI_TRY(settings.trim_offsets, processor["trim_offsets"].boolean_or(true));
  RTAI_TRY(settings.trim_keeps_prefix, processor["add_prefix_space"].boolean_or(true));
  if (settings.trim_offsets && settings.model.kind != ModelSettings::Kind::bpe) {
    return unsupported("tokenizer option post_processor.trim_offsets is supported with BPE only");
  }
  return {};
}

}  // namespace

Result<void> read_processor(const JsonValue& processor,
                            TokenizerSettings& settings,
                            Frames& frames) {
  if (!processor.exists()) return {};
  RTAI_TRY(const std::string kind, kind_of(processor));
  if (kind == "Sequence") {
    RTAI_TRY(const std::vector<JsonValue> elements, processor["processors"].elements());
    for (const JsonValue& element : elements)
      RTAI_TRY_VOID(read_processor(element, settings, frames));
    return {};
  }
  if (kind == "ByteLevel") {
    if (settings.trim_offsets)
      return unsupported("tokenizer trims offsets twice, which is not supported");
    return read_trimming(processor, settings);
  }
  const bool roberta = kind == "RobertaProcessing";
  if (!roberta && kind != "BertProcessing" && kind != "TemplateProcessing") {
    return unsupported_kind(
        "post_processor", kind,
        "BertProcessing, ByteLevel, RobertaProcessing, Sequence, TemplateProcessing");
  }
  if (std::exchange(frames.found, true)) {
    return unsupported("tokenizer has more than one frame, which is not supported");
  }
  settings.single.clear();
  settings.pair.clear();
  if (kind == "TemplateProcessing") {
    const JsonValue special = processor["special_tokens"];
    RTAI_TRY_VOID(read_template(processor["single"], special, settings.single, frames));
    return read_template(processor["pair"], special, settings.pair, frames);
  }
  RTAI_TRY(NamedToken cls, read_named_token(processor["cls"]));
  RTAI_TRY(NamedToken sep, read_named_token(processor["sep"]));
  settings.single = {{cls.id, 0}, {FrameStep::kFirst, 0}, {sep.id, 0}};
  settings.pair = settings.single;
  if (roberta) {
    settings.pair.insert(settings.pair.end(), {{sep.id, 0}, {FrameStep::kSecond, 0}, {sep.id, 0}});
    if (settings.trim_offsets)
      return unsupported("tokenizer trims offsets twice, which is not supported");
    RTAI_TRY_VOID(read_trimming(processor, settings));
  } else {
    settings.pair.insert(settings.pair.end(), {{FrameStep::kSecond, 1}, {sep.id, 1}});
  }
  frames.tokens = {std::move(cls), std::move(sep)};
  return {};
}

}  // namespace rtai::tools
