// A file mapped read-only into memory.
#pragma once

#include "runtime/base/result.h"

#include <cstddef>
#include <filesystem>
#include <span>
#include <string_view>

namespace rtai {

/// The bytes of a regular file, mapped read-only for the life of the object.
class MappedFile {
 public:
  /// Errors: not_found; invalid_input if it is not a regular file; io.
  static Result<MappedFile> open(const std::filesystem::path& path);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  MappedFile(const std::byte* data, std::size_t size) : data_(data), size_(size) {}

  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace rtai
