#include "tools/json.h"

#include "runtime/base/atomic_write.h"

#include <cstdio>

namespace rtai::tools {

std::string pretty(const Json& document) {
  return document.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<void> write_json(const Json& document, const std::string& target) {
  const std::string text = pretty(document);
  if (target != "-") return write_file_atomically(target, text);
  std::fwrite(text.data(), 1, text.size(), stdout);
  if (std::fflush(stdout) == 0) return {};
  return Error{ErrorCode::io, "standard output cannot be written"};
}

bool is_stdout(const std::optional<std::string>& json_target) {
  return json_target == "-";
}

}  // namespace rtai::tools
