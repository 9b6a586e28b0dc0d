#include "runtime/base/atomic_write.h"

#include "runtime/base/internal/file_descriptor.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <atomic>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>
#include <new>
#include <string>
#include <string_view>

namespace rtai {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kTemporaryPrefix = ".rtai-part.";

// A temporary name of this process, where a signal handler can find it: rtai writes one file at a
// time, into one folder at a time. `owned` tells the handler whether the name is complete.
struct TemporaryName {
  char path[PATH_MAX] = {};
  std::atomic<bool> owned{false};
};

struct TemporaryNames {
  TemporaryName file;
  TemporaryName folder;
};

TemporaryNames& temporary_names() {
  static TemporaryNames instance;
  return instance;
}

/// Calls visit(name) for every entry of a folder, without memory of its own: handlers call it, and
/// std::filesystem's iterators end the program where memory is missing.
template <class Visit>
void for_each_entry(int folder, Visit&& visit) noexcept {
  alignas(dirent64) char entries[4096];
  ssize_t bytes = 0;
  while ((bytes = ::getdents64(folder, entries, sizeof entries)) > 0) {
    for (ssize_t at = 0; at < bytes;) {
      const auto* entry = reinterpret_cast<const dirent64*>(entries + at);
      visit(entry->d_name);
      at += entry->d_reclen;
    }
  }
}

/// Removes a folder of plain files.
void remove_flat_folder(int parent, const char* path) noexcept {
  const int folder = ::openat(parent, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (folder < 0) return;
  // Refused for "." and "..".
  for_each_entry(folder, [folder](const char* name) { ::unlinkat(folder, name, 0); });
  ::close(folder);
  ::unlinkat(parent, path, AT_REMOVEDIR);
}

/// Removes what killed processes have left in `folder`. Whoever writes holds a lock on what it
/// writes, and the system lets go of it when the process ends.
void remove_leftovers(const fs::path& path) noexcept {
  const FileDescriptor folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (folder.get() < 0) return;
  for_each_entry(folder.get(), [&folder](const char* name) {
    if (!std::string_view(name).starts_with(kTemporaryPrefix)) return;
    const FileDescriptor leftover(
        ::openat(folder.get(), name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (leftover.get() < 0 || ::fstat(leftover.get(), &status) != 0) return;
    if (status.st_uid != ::geteuid() || ::flock(leftover.get(), LOCK_EX | LOCK_NB) != 0) return;
    if (S_ISDIR(status.st_mode)) {
      remove_flat_folder(folder.get(), name);
    } else {
      ::unlinkat(folder.get(), name, 0);
    }
  });
}

bool lock(const FileDescriptor& file) {
  // Some file systems have no locks; there leftovers stay, and nobody takes them for such.
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) return false;
  struct stat status {};
  // Between making and locking it could have been taken for a leftover and removed.
  return ::fstat(file.get(), &status) == 0 && status.st_nlink > 0;
}

/// Calls make(path) for temporary names in `folder` until it returns 0; false, with errno, if it
/// fails for another reason than that the name is taken.
template <class Make>
bool with_temporary_name(const fs::path& folder, TemporaryName& name, Make&& make) {
  for (int attempt = 0; attempt < 100; ++attempt) {
    std::uint64_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != sizeof number) return false;
    const int size =
        std::snprintf(name.path, sizeof name.path, "%s/%s%016llx", folder.c_str(),
                      kTemporaryPrefix.data(), static_cast<unsigned long long>(number));
    if (size < 0 || static_cast<std::size_t>(size) >= sizeof name.path) {
      errno = ENAMETOOLONG;
      return false;
    }
    // Before there is anything: a signal may come between making it and the next line. Nobody else
    // has a file of this name.
    name.owned = true;
    if (make(name.path) == 0) return true;
    name.owned = false;
    if (errno != EEXIST) return false;
  }
  return false;
}

void discard(TemporaryName& name) noexcept {
  if (name.owned.exchange(false)) ::unlink(name.path);
}

/// A file that is being written: without a name where the system can do that.
class NewFile {
 public:
  explicit NewFile(const fs::path& folder) : folder_(folder) {
    // Whoever lacks /proc cannot give the file its name later.
    if (::access("/proc/self/fd", X_OK) == 0) {
      file_ = FileDescriptor(::open(folder.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666));
    }
    if (file_.get() >= 0) {
      ::flock(file_.get(), LOCK_EX | LOCK_NB);  // for when it has a temporary name
      return;
    }
    with_temporary_name(folder, name_, [this](const char* path) {
      file_ = FileDescriptor(::open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      if (file_.get() >= 0 && !lock(file_)) {
        ::unlink(path);
        file_.close();
        errno = EEXIST;
      }
      return file_.get() >= 0 ? 0 : -1;
    });
  }
  NewFile(const NewFile&) = delete;
  NewFile& operator=(const NewFile&) = delete;
  ~NewFile() { discard(name_); }

  FileDescriptor& file() { return file_; }

  /// False, with errno, if that failed.
  bool put_in_place(const fs::path& path) {
    if (!name_.owned) {
      const std::string self = "/proc/self/fd/" + std::to_string(file_.get());
      const auto link = [&self](const char* to) {
        return ::linkat(AT_FDCWD, self.c_str(), AT_FDCWD, to, AT_SYMLINK_FOLLOW);
      };
      if (link(path.c_str()) == 0) return true;
      if (errno != EEXIST) return false;
      // There is no call that links over an existing name.
      if (!with_temporary_name(folder_, name_, link)) return false;
    }
    if (::rename(name_.path, path.c_str()) != 0) return false;
    name_.owned = false;
    return true;
  }

 private:
  const fs::path& folder_;
  TemporaryName& name_ = temporary_names().file;
  FileDescriptor file_{-1};
};

bool write_all(const FileDescriptor& file, std::span<const std::span<const std::byte>> parts) {
  for (std::span<const std::byte> part : parts) {
    while (!part.empty()) {
      const ssize_t count = ::write(file.get(), part.data(), part.size());
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) return false;
      part = part.subspan(static_cast<std::size_t>(count));
    }
  }
  return true;
}

/// Names given in `folder` survive a power cut after this.
bool flush_folder(const fs::path& folder) {
  const FileDescriptor directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  // A folder may be writable and not readable. Some file systems flush no folders.
  return directory.get() < 0 || ::fsync(directory.get()) == 0 || errno == EINVAL;
}

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

/// The file that `path` means: where its links lead.
fs::path destination(const fs::path& path) {
  std::error_code status;
  if (!fs::is_symlink(path, status)) return path;
  const fs::path resolved = fs::canonical(path, status);
  if (status == std::errc::not_enough_memory) throw std::bad_alloc();  // the link is not the file
  return status ? path : resolved;
}

}  // namespace

void discard_unfinished_writes() noexcept {
  TemporaryNames& names = temporary_names();
  discard(names.file);
  if (names.folder.owned.exchange(false)) remove_flat_folder(AT_FDCWD, names.folder.path);
}

Result<void> write_file_atomically(const fs::path& path,
                                   std::span<const std::span<const std::byte>> parts) {
  std::error_code ignored;
  if (fs::exists(path, ignored) && !fs::is_regular_file(path, ignored)) {
    // A device or a pipe, which no file may take the place of.
    FileDescriptor stream(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (stream.get() >= 0 && write_all(stream, parts) && stream.close()) return {};
    return system_error(ErrorCode::io, path, "cannot be written");
  }
  // There is one temporary name, and sessions of several threads may keep something.
  static std::mutex one_at_a_time;
  const std::lock_guard lock(one_at_a_time);
  const fs::path target = destination(path);
  const fs::path folder = folder_of(target);
  remove_leftovers(folder);

  NewFile made(folder);
  if (made.file().get() < 0 || !write_all(made.file(), parts) || ::fsync(made.file().get()) != 0) {
    return system_error(ErrorCode::io, path, "cannot be written");
  }
  if (!made.put_in_place(target)) return system_error(ErrorCode::io, path, "cannot be replaced");
  if (!made.file().close() || !flush_folder(folder)) {
    return system_error(ErrorCode::io, path, "was written, but perhaps not to the disk");
  }
  return {};
}

Result<void> write_file_atomically(const fs::path& path, std::string_view text) {
  const std::span<const std::byte> part = std::as_bytes(std::span(text));
  return write_file_atomically(path, std::span(&part, 1));
}

Result<void> write_folder_atomically(
    const fs::path& path, const std::function<Result<void>(const fs::path& folder)>& fill) {
  const fs::path parent = folder_of(path);
  remove_leftovers(parent);
  TemporaryName& name = temporary_names().folder;
  FileDescriptor held(-1);  // locked while the folder is filled
  const bool made = with_temporary_name(parent, name, [&held](const char* staging) {
    if (::mkdir(staging, 0777) != 0) return -1;
    held = FileDescriptor(::open(staging, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (held.get() >= 0 && lock(held)) return 0;
    ::rmdir(staging);
    errno = held.get() >= 0 ? EEXIST : errno;
    return -1;
  });
  if (!made) return system_error(ErrorCode::io, path, "cannot be written");

  Result<void> result = fill(name.path);
  if (result && ::rename(name.path, path.c_str()) != 0)
    result = system_error(ErrorCode::io, path, "cannot be written");
  if (!result) {
    discard_unfinished_writes();
    return result;
  }
  name.owned = false;
  if (!flush_folder(parent))
    return system_error(ErrorCode::io, path, "was written, but perhaps not to the disk");
  return {};
}

}  // namespace rtai
