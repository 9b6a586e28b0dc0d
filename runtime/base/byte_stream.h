// The only place where the bytes of a file become numbers, and numbers bytes.
#pragma once

#include "runtime/base/result.h"

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace rtai {

/// Reads little-endian numbers and strings; never beyond the end.
class ByteReader {
 public:
  explicit ByteReader(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::size_t position() const { return position_; }
  std::size_t remaining() const { return bytes_.size() - position_; }

  /// Errors: corrupt if fewer bytes are left, with the position.
  template <class T>
  Result<T> read() {
    static_assert(std::is_trivially_copyable_v<T>);
    RTAI_TRY(const std::span<const std::byte> source, take(sizeof(T)));
    T value;
    std::memcpy(&value, source.data(), sizeof(T));
    return value;
  }

  Result<std::span<const std::byte>> take(std::size_t count) {
    if (count > remaining()) {
      return Error{ErrorCode::corrupt, "byte " + std::to_string(position_) + ": " +
                                           std::to_string(count) + " bytes expected, " +
                                           std::to_string(remaining()) + " left"};
    }
    const std::span<const std::byte> taken = bytes_.subspan(position_, count);
    position_ += count;
    return taken;
  }

  /// A u32 count of things of which each takes at least `smallest` bytes, so that a count that
  /// cannot be true is refused before memory is set aside for it.
  Result<std::uint32_t> read_count(std::size_t smallest) {
    RTAI_TRY(const std::uint32_t count, read<std::uint32_t>());
    if (count > remaining() / smallest) {
      return Error{ErrorCode::corrupt, "byte " + std::to_string(position_ - 4) + ": a count of " +
                                           std::to_string(count) + " does not fit into " +
                                           std::to_string(remaining()) + " bytes"};
    }
    return count;
  }

  Result<std::string> read_string(std::size_t longest) {
    RTAI_TRY(const std::uint32_t count, read_count(1));
    if (count > longest) {
      return Error{ErrorCode::corrupt, "byte " + std::to_string(position_ - 4) + ": a string of " +
                                           std::to_string(count) + " bytes, at most " +
                                           std::to_string(longest)};
    }
    RTAI_TRY(const std::span<const std::byte> text, take(count));
    return std::string(reinterpret_cast<const char*>(text.data()), text.size());
  }

 private:
  std::span<const std::byte> bytes_;
  std::size_t position_ = 0;
};

class ByteWriter {
 public:
  template <class T>
  void write(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(std::as_bytes(std::span(&value, 1)));
  }
  void write_string(std::string_view text) {
    write(static_cast<std::uint32_t>(text.size()));
    append(std::as_bytes(std::span(text)));
  }
  void append(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void pad_to(std::size_t alignment) {
    bytes_.resize((bytes_.size() + alignment - 1) / alignment * alignment);
  }

  std::size_t size() const { return bytes_.size(); }
  std::vector<std::byte>& bytes() { return bytes_; }

 private:
  std::vector<std::byte> bytes_;
};

}  // namespace rtai
