#include "tools/serve/inquiry.h"

#include "tools/json_file.h"

#include <fmt/format.h>

namespace rtai::serve {
namespace {

constexpr int kDeepest = 16;

/// Brackets that are open at once, at most.
int depth_of(std::string_view body) {
  int depth = 0, deepest = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < body.size(); ++i) {
    const char c = body[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
      continue;
    }
    if (c == '"') in_string = true;
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if (c == ']' || c == '}') --depth;
  }
  return deepest;
}

}  // namespace

Result<Body> parse_body(std::string_view body) {
  if (depth_of(body) > kDeepest)
    return Error{ErrorCode::invalid_input, fmt::format("JSON deeper than {} levels", kDeepest)};
  Result<Body> parsed = tools::parse_json(body);
  if (parsed && !parsed->is_object())
    return Error{ErrorCode::invalid_input, "expected a JSON object"};
  return parsed;
}

Result<std::vector<std::string>> texts_of(const Body& value, std::string_view key) {
  const Error error{ErrorCode::invalid_input,
                    fmt::format("\"{}\": expected a text or a list of texts", key)};
  if (value.is_string()) return std::vector<std::string>{value.get<std::string>()};
  if (!value.is_array()) return error;
  std::vector<std::string> texts;
  for (const Body& item : value) {
    if (!item.is_string()) return error;
    texts.push_back(item.get<std::string>());
  }
  return texts;
}

Result<std::optional<std::size_t>> engine_called(const EngineSet& set, const std::string& name) {
  for (std::size_t i = 0; i < set.engines.size(); ++i) {
    if (set.engines.size() > 1 && set.engines[i]->name == name) return std::optional(i);
  }
  if (name == set.model_name) return std::optional<std::size_t>();
  return Error{ErrorCode::not_found, "no model or engine of this name"};
}

HttpResponse json_response(const Json& json) {
  return {.body = tools::one_line(json)};
}

}  // namespace rtai::serve
