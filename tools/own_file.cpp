#include "tools/own_file.h"

#include "runtime/base/system_error.h"

#include <algorithm>
#include <system_error>

namespace rtai::tools {
namespace {

namespace fs = std::filesystem;

/// Part by part: "/a/bc" is not inside "/a/b".
bool lies_in(const fs::path& path, const fs::path& folder) {
  return std::mismatch(folder.begin(), folder.end(), path.begin(), path.end()).first ==
         folder.end();
}

bool is_blob_of(const fs::path& target, const fs::path& folder) {
  const fs::path blobs = target.parent_path();
  return blobs.filename() == "blobs" && lies_in(folder, blobs.parent_path() / "snapshots");
}

}  // namespace

Result<void> expect_own_file(const fs::path& folder, const fs::path& name) {
  const fs::path path = folder / name;
  std::error_code failed;
  const fs::path root = fs::canonical(folder.empty() ? fs::path(".") : folder, failed);
  const fs::path target = failed ? fs::path() : fs::canonical(path, failed);
  if (failed == std::errc::no_such_file_or_directory)
    return Error{ErrorCode::not_found, path.string() + ": no such file"};
  if (failed) {  // the C library resolves paths with memory of its own
    return Error{error_code(failed.value()), path.string() + ": " + failed.message()};
  }
  if (!lies_in(target, root) && !is_blob_of(target, root)) {
    return Error{ErrorCode::invalid_input,
                 path.string() + ": a symbolic link that leads out of the model's folder"};
  }
  return {};
}

}  // namespace rtai::tools
