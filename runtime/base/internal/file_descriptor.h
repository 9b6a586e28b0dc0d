// A file descriptor that closes itself, and what the system says when a call on a file fails.
#pragma once

#include "runtime/base/result.h"
#include "runtime/base/system_error.h"

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

}  // namespace rtai
