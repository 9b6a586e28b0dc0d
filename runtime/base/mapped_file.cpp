#include "runtime/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>

namespace rtai {
namespace {

Error system_error(ErrorCode code, const std::filesystem::path& path, std::string_view what) {
  const std::string reason = std::generic_category().message(errno);
  return {code, path.string() + ": " + std::string(what) + ": " + reason};
}

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd) : fd_(fd) {}
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

// The one temporary file of this process, where a signal handler can find it: rtai writes one file
// at a time. `owned` tells the handler whether the name is complete.
struct UnfinishedWrite {
  char path[PATH_MAX] = {};
  std::atomic<bool> owned{false};
};

UnfinishedWrite& unfinished_write() {
  static UnfinishedWrite instance;
  return instance;
}

}  // namespace

Result<MappedFile> MappedFile::open(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a FIFO must not wait for a writer.
  const FileDescriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (file.get() < 0) {
    const bool absent = errno == ENOENT || errno == ENOTDIR;
    if (absent) return Error{ErrorCode::not_found, path.string() + ": no such file"};
    return system_error(ErrorCode::io, path, "cannot be opened");
  }
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) {
    return system_error(ErrorCode::io, path, "cannot be examined");
  }
  if (!S_ISREG(status.st_mode)) {
    return Error{ErrorCode::invalid_input, path.string() + ": expected a regular file"};
  }
  const auto size = static_cast<std::size_t>(status.st_size);
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

void discard_unfinished_writes() noexcept {
  UnfinishedWrite& write = unfinished_write();
  if (write.owned.exchange(false)) ::unlink(write.path);
}

Result<void> write_file_atomically(const std::filesystem::path& path,
                                   std::span<const std::span<const std::byte>> parts) {
  const std::filesystem::path folder =
      path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
  const std::string pattern = (folder / ("." + path.filename().string() + ".XXXXXX")).string();
  UnfinishedWrite& write = unfinished_write();
  if (pattern.size() >= sizeof write.path) {
    return Error{ErrorCode::invalid_input, path.string() + ": the path is too long"};
  }
  std::memcpy(write.path, pattern.c_str(), pattern.size() + 1);

  FileDescriptor file(::mkostemp(write.path, O_CLOEXEC));
  if (file.get() < 0) return system_error(ErrorCode::io, path, "cannot be written");
  write.owned = true;
  const auto fail = [&](std::string_view what) {
    const Error error = system_error(ErrorCode::io, path, what);
    discard_unfinished_writes();
    return error;
  };

  for (std::span<const std::byte> part : parts) {
    while (!part.empty()) {
      const ssize_t count = ::write(file.get(), part.data(), part.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return fail("cannot be written");
      part = part.subspan(static_cast<std::size_t>(count));
    }
  }
  // mkostemp makes the file private; a result is as readable as any file the user makes.
  const mode_t mask = ::umask(0);
  ::umask(mask);
  if (::fchmod(file.get(), 0666 & ~mask) != 0) return fail("cannot be written");
  if (::fsync(file.get()) != 0 || !file.close()) return fail("cannot be written");
  if (::rename(write.path, path.c_str()) != 0) return fail("cannot be replaced");
  write.owned = false;

  // The rename itself must survive a power cut too.
  const FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() >= 0) ::fsync(directory.get());
  return {};
}

Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  const std::span<const std::byte> part = std::as_bytes(std::span(text));
  return write_file_atomically(path, std::span(&part, 1));
}

}  // namespace rtai
