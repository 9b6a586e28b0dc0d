// Files that tests read but the project does not hold: real models and vocabularies.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>

namespace rtai::testing {

/// `relative` under the folder that the environment variable RTAI_SHARED names (default: `shared`
/// beside the repository); nothing if it is not there, and then the test says that it is skipped.
inline std::optional<std::filesystem::path> shared_file(const std::filesystem::path& relative) {
  const char* folder = std::getenv("RTAI_SHARED");
  const std::filesystem::path root =
      folder != nullptr ? folder : std::filesystem::path(RTAI_SOURCE_DIR) / ".." / "shared";
  std::error_code error;
  if (!std::filesystem::exists(root / relative, error)) return std::nullopt;
  return root / relative;
}

}  // namespace rtai::testing
