#pragma once

#include <string_view>

namespace rtai::tools {

/// "0.1.0", from CMakeLists.txt.
std::string_view version();

}  // namespace rtai::tools
