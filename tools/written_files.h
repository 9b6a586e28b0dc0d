// What a command writes must not be what it reads, nor two of its results the same file.
#pragma once

#include "runtime/base/result.h"

namespace CLI {
class App;
}  // namespace CLI

namespace rtai::tools {

/// The type of flags that name a file to be written; those that name one to be read have FILE.
inline constexpr const char* kWrittenFile = "OUT";

/// Checks the flags that were given to the command that `app` has parsed. Devices such as /dev/null
/// may be named at will, and a baseline may be replaced by what was held against it.
///
/// Errors: invalid_input with both flags.
Result<void> check_written_files(const CLI::App& app);

}  // namespace rtai::tools
