#include "libopt/onnx/internal/file.h"

#include "runtime/base/system_error.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

namespace rtai::onnx_io {
namespace {

namespace fs = std::filesystem;

// O_NONBLOCK: opening a FIFO must not wait for a writer.
constexpr int kRead = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;

Error system_error(std::string_view what, int number) {
  const ErrorCode otherwise = number == ENOENT ? ErrorCode::not_found : ErrorCode::io;
  return {error_code(number, otherwise), fmt::format("{}: {}", what, std::strerror(number))};
}

Error unsafe(std::string_view why) {
  return {ErrorCode::invalid_input, std::string(why)};
}

/// The parts of a relative path that stays below where it starts.
Result<std::vector<std::string>> path_parts(const std::string& location) {
  if (location.empty()) return unsafe("is empty");
  if (location.front() == '/') return unsafe("is an absolute path");
  if (location.find('\0') != std::string::npos) return unsafe("holds a zero byte");
  if (location.find_first_of("\\:") != std::string::npos)
    return unsafe("is a path of another system");
  std::vector<std::string> parts;
  std::size_t begin = 0;
  while (begin <= location.size()) {
    const std::size_t end = std::min(location.find('/', begin), location.size());
    const std::string part = location.substr(begin, end - begin);
    if (part == "..") return unsafe("leads out of the model's folder");
    if (!part.empty() && part != ".") parts.push_back(part);
    begin = end + 1;
  }
  if (parts.empty()) return unsafe("names no file");
  return parts;
}

/// Where the link beside the model leads, if that is where Hugging Face would store it.
Result<fs::path> stored_blob(const fs::path& model, const std::string& name) {
  std::error_code failed;
  const fs::path target = fs::canonical(model.parent_path() / name, failed);
  if (failed) return system_error("the link", failed.value());
  const fs::path model_target = fs::canonical(model, failed);
  if (failed) return system_error("the model", failed.value());
  if (target.parent_path() == model_target.parent_path()) return target;
  return unsafe("is a symbolic link that leads away from the model");
}

}  // namespace

InputFile::InputFile(InputFile&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), size_(std::exchange(other.size_, 0)) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(descriptor_, other.descriptor_);
  std::swap(size_, other.size_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

Result<InputFile> InputFile::checked(InputFile file) {
  struct stat status {};
  if (::fstat(file.descriptor_, &status) != 0) return system_error("cannot be examined", errno);
  if (!S_ISREG(status.st_mode)) return unsafe("is not a regular file");
  file.size_ = status.st_size;
  return file;
}

Result<InputFile> InputFile::open(const fs::path& path) {
  InputFile file(::open(path.c_str(), kRead));
  if (file.descriptor_ < 0) return system_error("cannot be opened", errno);
  return checked(std::move(file));
}

Result<InputFile> InputFile::open_beside(const fs::path& model,
                                         const std::string& location,
                                         bool allow_hardlinks) {
  RTAI_TRY(std::vector<std::string> parts, path_parts(location));
  fs::path folder = model.parent_path();
  if (folder.empty()) folder = ".";

  // From folder to folder by descriptor, never through a link and never upwards: no test on the
  // text of the path is relied on, and nothing can be exchanged between a test and its use.
  InputFile place(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  for (std::size_t i = 0; i + 1 < parts.size() && place.descriptor_ >= 0; ++i) {
    place = InputFile(::openat(place.descriptor_, parts[i].c_str(),
                               O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }
  if (place.descriptor_ < 0) {
    return errno == ENOTDIR || errno == ELOOP ? unsafe("leads through a symbolic link or a file")
                                              : system_error("cannot be opened", errno);
  }
  InputFile file(::openat(place.descriptor_, parts.back().c_str(), kRead | O_NOFOLLOW));
  if (file.descriptor_ < 0 && errno == ELOOP && parts.size() == 1) {
    RTAI_TRY(const fs::path blob, stored_blob(model, parts.back()));
    file = InputFile(::open(blob.c_str(), kRead | O_NOFOLLOW));
  }
  if (file.descriptor_ < 0) {
    return errno == ELOOP ? unsafe("is a symbolic link") : system_error("cannot be opened", errno);
  }
  RTAI_TRY(file, checked(std::move(file)));
  struct stat status {};
  if (!allow_hardlinks && ::fstat(file.descriptor_, &status) == 0 && status.st_nlink > 1) {
    return unsafe("is a hard link, which could be another name of a private file");
  }
  return file;
}

Result<void> InputFile::read(Index offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const ssize_t count = ::pread(descriptor_, bytes.data(), bytes.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error("cannot be read", errno);
    if (count == 0) return Error{ErrorCode::io, "ends before it should"};
    offset += count;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return {};
}

}  // namespace rtai::onnx_io
