// A file descriptor that closes itself, and what the system says when a call on a file fails.
#pragma once

#include "runtime/base/result.h"
#include "runtime/base/system_error.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <string>
#include <system_error>
#include <utility>

namespace rtai {

/// "path: what: reason", the reason being errno's. `code`, but for want of memory.
inline Error system_error(ErrorCode code,
                          const std::filesystem::path& path,
                          std::string_view what) {
  const int number = errno;
  const std::string reason = std::generic_category().message(number);
  return {error_code(number, code), path.string() + ": " + std::string(what) + ": " + reason};
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor() { close(); }

  int get() const { return fd_; }
  /// False if the system reports a write error only now.
  bool close() {
    if (fd_ < 0) return true;
    return ::close(std::exchange(fd_, -1)) == 0;
  }

 private:
  int fd_;
};

/// Errors: not_found, io.
inline Result<FileDescriptor> open_to_read(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() >= 0) return file;
  const bool absent = errno == ENOENT || errno == ENOTDIR;
  if (absent) return Error{ErrorCode::not_found, path.string() + ": no such file"};
  return system_error(ErrorCode::io, path, "cannot be opened");
}

/// Errors: invalid_input if it is not a regular file; io.
inline Result<std::size_t> regular_file_size(const FileDescriptor& file,
                                             const std::filesystem::path& path) {
  struct stat status {};
  if (::fstat(file.get(), &status) != 0)
    return system_error(ErrorCode::io, path, "cannot be examined");
  if (!S_ISREG(status.st_mode))
    return Error{ErrorCode::invalid_input, path.string() + ": expected a regular file"};
  return static_cast<std::size_t>(status.st_size);
}

}  // namespace rtai
