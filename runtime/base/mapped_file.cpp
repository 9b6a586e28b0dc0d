#include "runtime/base/mapped_file.h"

#include "runtime/base/internal/file_descriptor.h"

#include <sys/mman.h>

#include <utility>

namespace rtai {

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  RTAI_TRY(const FileDescriptor file, open_to_read(path));
  RTAI_TRY(const std::size_t size, regular_file_size(file, path));
  if (size == 0) return MappedFile(nullptr, 0);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.get(), 0);
  if (data == MAP_FAILED) return system_error(ErrorCode::io, path, "cannot be mapped");
  return MappedFile(static_cast<const std::byte*>(data), size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

}  // namespace rtai
