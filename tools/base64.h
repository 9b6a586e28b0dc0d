// Bytes as text, RFC 4648 section 4.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace rtai::tools {

std::string encode_base64(std::string_view bytes);

/// Nothing if `text` is not base64 with its padding.
std::optional<std::string> decode_base64(std::string_view text);

}  // namespace rtai::tools
