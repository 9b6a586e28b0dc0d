// JSON documents as commands write them: keys in the order they were set.
#pragma once

#include "runtime/base/result.h"

#include <nlohmann/json.hpp>

#include <optional>
#include <string>

namespace rtai::tools {

using Json = nlohmann::ordered_json;

/// The document as people read it, a member a line; what is not UTF-8 is replaced.
std::string pretty(const Json& document);

/// A document of either kind on one line; what is not UTF-8 is replaced.
template <class Document>
std::string one_line(const Document& document) {
  return document.dump(-1, ' ', false, Document::error_handler_t::replace);
}

/// Writes a document: "-" to standard output, else to that file, whole or not at all.
Result<void> write_json(const Json& document, const std::string& target);

/// True if `--json -` took standard output for the document.
bool is_stdout(const std::optional<std::string>& json_target);

}  // namespace rtai::tools
