// tokenizer.json, read into and written from the primitive steps that rtai works with.
#pragma once

#include "runtime/base/result.h"
#include "runtime/text/tokenizer.h"
#include "tools/json_file.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

/// Regular expressions are not run but recognized: these.
inline constexpr std::string_view kGpt2Expression =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
inline constexpr std::string_view kSpacesExpression = " {2,}";
inline constexpr std::string_view kWhitespaceExpression = R"(\s{2,}|[\n\r\t])";

/// The tokenizer that `root` describes; `config`, the tokenizer_config.json beside it, names the
/// pad and mask tokens. Its own `padding` and `truncation` are left aside: many files carry those
/// of an export (pad to 128).
///
/// Errors: invalid_input, naming the key; unsupported for any part or option that rtai does not do
///         exactly as the library does, naming it.
Result<text::Tokenizer> from_tokenizer_json(const JsonValue& root, const JsonValue& config);

nlohmann::json to_tokenizer_json(const text::Tokenizer& tokenizer);

/// A token with its flags, as in `added_tokens`.
Result<text::AddedToken> read_added_token(const JsonValue& token, std::int32_t id);
/// Those of `added_tokens_decoder` in a tokenizer_config.json, an object whose keys are ids.
Result<std::vector<text::AddedToken>> read_added_tokens_decoder(const JsonValue& decoder);
nlohmann::json added_token_json(const text::AddedToken& token);

/// Special tokens are strings, or objects with their flags.
Result<std::string> read_token(const JsonValue& token, std::string_view absent);

/// "tokenizer PART 'KIND' is not supported; supported: ..."
Error unsupported_kind(std::string_view part, std::string_view kind, std::string_view supported);

}  // namespace rtai::tools
