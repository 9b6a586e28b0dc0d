// What the normalizer step join_spaces takes for spaces.
#pragma once

#include <string_view>

namespace rtai::text {

/// The step's `pattern` for \s{2,}|[\n\r\t]: runs of any whitespace, and single line ends and tabs.
/// An empty pattern stands for " {2,}": runs of spaces.
inline constexpr std::string_view kWhitespacePattern = R"(\s)";

}  // namespace rtai::text
