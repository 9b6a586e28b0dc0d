// Material outside of the repository that some tests look at.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace rtai {

/// The folder in RTAI_SHARED, or "shared" beside the repository. It may be absent.
inline std::filesystem::path shared_folder() {
  const char* folder = std::getenv("RTAI_SHARED");
  if (folder != nullptr) return folder;
  return std::filesystem::path(RTAI_SOURCE_DIR) / ".." / "shared";
}

}  // namespace rtai
