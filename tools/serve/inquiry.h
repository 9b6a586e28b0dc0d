// What a request asks of the model, whichever protocol it came in.
#pragma once

#include "tools/answer_json.h"
#include "tools/serve/batcher.h"
#include "tools/serve/engines.h"
#include "tools/serve/http_message.h"

#include <nlohmann/json.hpp>

#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace rtai::serve {

using tools::Json;
using Body = nlohmann::json;  // of a request: finds keys quickly however many there are

/// A request's texts with what the model said of them.
struct Answered {
  const EngineSet& set;
  const LoadedEngine& engine;
  std::size_t version;  // of the engine: its place in the set, from 1
  const std::vector<tools::Sample>& samples;
  const std::vector<text::Encoding>& encodings;
  const Outputs& outputs;
};

struct Inquiry {
  std::vector<tools::Sample> samples;
  std::optional<std::size_t> engine = {};  // of the set, if the client wants a certain one
  std::optional<double> timeout_s = {};
  /// Makes the response. Errors: as of answer_json.
  std::function<Result<HttpResponse>(const Answered&)> respond;
};

/// Reads a body: JSON, no deeper than a request needs to be.
///
/// Errors: invalid_input, without a word of the body.
Result<Body> parse_body(std::string_view body);

/// The field `key` as a list of texts; one text counts as a list of one.
Result<std::vector<std::string>> texts_of(const Body& value, std::string_view key);

/// The engine called `name`; none if it is the model's own name.
///
/// Errors: not_found.
Result<std::optional<std::size_t>> engine_called(const EngineSet& set, const std::string& name);

/// A response with this JSON.
HttpResponse json_response(const Json& json);

}  // namespace rtai::serve
