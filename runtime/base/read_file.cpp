#include "runtime/base/read_file.h"

#include "runtime/base/checked.h"
#include "runtime/base/internal/file_descriptor.h"
#include "runtime/base/parallel.h"
#include "runtime/base/usable_cores.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace rtai {
namespace {

/// Whole huge pages, so that each is zeroed by the thread that fills it.
constexpr std::size_t kPieceBytes = std::size_t{4} << 20;

Result<void> read_piece(int file,
                        const std::filesystem::path& path,
                        std::span<std::byte> to,
                        std::size_t at) {
  while (!to.empty()) {
    const ssize_t count = ::pread(file, to.data(), to.size(), static_cast<off_t>(at));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return system_error(ErrorCode::io, path, "cannot be read");
    if (count == 0)
      return Error{ErrorCode::io, path.string() + ": became shorter while it was read"};
    to = to.subspan(static_cast<std::size_t>(count));
    at += static_cast<std::size_t>(count);
  }
  return {};
}

}  // namespace

Result<AlignedBuffer> read_file(const std::filesystem::path& path) {
  RTAI_TRY(const FileDescriptor file, open_to_read(path));
  RTAI_TRY(const std::size_t size, regular_file_size(file, path));
  RTAI_TRY(AlignedBuffer buffer, AlignedBuffer::make(size));
  RTAI_TRY_VOID(for_each_piece(
      static_cast<Index>(div_up(size, kPieceBytes)), usable_cores(), [&](Index piece) {
        const std::size_t begin = static_cast<std::size_t>(piece) * kPieceBytes;
        const std::size_t bytes = std::min(kPieceBytes, size - begin);
        return read_piece(file.get(), path, buffer.span().subspan(begin, bytes), begin);
      }));
  return buffer;
}

}  // namespace rtai
