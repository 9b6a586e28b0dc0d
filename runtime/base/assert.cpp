#include "runtime/base/assert.h"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string>

namespace rtai {

void assertion_failed(const char* condition, const char* reason, const char* file, int line) {
  const std::string text = std::string(file) + ":" + std::to_string(line) +
                           ": assertion failed: " + condition + " (" + reason + ")\n";
  // write(2), not stdio: the process is in an unknown state.
  [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
  std::abort();
}

}  // namespace rtai
