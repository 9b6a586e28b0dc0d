#include "tools/serve/engine_copy.h"

#include "runtime/base/system_error.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>
#include <memory>

namespace rtai::serve {

namespace fs = std::filesystem;

Result<AlignedBuffer> read_engine_bytes(const fs::path& path) {
  std::error_code status;
  const std::uintmax_t size = fs::file_size(path, status);
  if (status)
    return Error{ErrorCode::not_found, fmt::format("{}: {}", path.string(), status.message())};
  RTAI_TRY(AlignedBuffer buffer, AlignedBuffer::make(size));
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  file.read(reinterpret_cast<char*>(buffer.data()), static_cast<std::streamsize>(size));
  if (!file) return Error{error_code(errno), fmt::format("{}: cannot be read", path.string())};
  return buffer;
}

Result<engine::Engine> read_engine(const fs::path& path) {
  RTAI_TRY(AlignedBuffer bytes, read_engine_bytes(path));
  // Owned by the engine and whoever shares it.
  const auto storage = std::make_shared<const AlignedBuffer>(std::move(bytes));
  return engine::parse(storage->span(), storage, engine::Verify::digests).in(path.string());
}

}  // namespace rtai::serve
