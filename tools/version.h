#pragma once

#include <string_view>

namespace rtai::tools {

/// "0.1.0", from CMakeLists.txt.
std::string_view version();

/// "5d290f5", what the sources were when the build was configured; empty outside of a repository.
std::string_view commit();

}  // namespace rtai::tools
