// Protobuf by hand, for what a serializer would not write.
#pragma once

#include <cstdint>
#include <string>

namespace rtai::testing::wire {

inline std::string varint(std::uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7)
    bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

inline std::string tag(int number, int wire_type) {
  return varint(static_cast<std::uint64_t>(number) << 3 | static_cast<std::uint64_t>(wire_type));
}

inline std::string field(int number, const std::string& content) {
  return tag(number, 2) + varint(content.size()) + content;
}

inline std::string repeated(const std::string& text, std::size_t times) {
  std::string result;
  result.reserve(text.size() * times);
  for (std::size_t i = 0; i < times; ++i)
    result += text;
  return result;
}

}  // namespace rtai::testing::wire
