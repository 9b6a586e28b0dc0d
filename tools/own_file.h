// A model reads its own folder only: where the files beside it may lie.
#pragma once

#include "runtime/base/result.h"

#include <filesystem>

namespace rtai::tools {

/// Checks where the symbolic links of the file `name` of the model in `folder` lead: to another
/// place in the folder, or to where the cache of Hugging Face keeps its files
/// (snapshots/REVISION/name ->
/// ../../blobs/HASH).
///
/// Errors: not_found; invalid_input if a link leads elsewhere: a folder from somebody else could
/// name a private file that way.
Result<void> expect_own_file(const std::filesystem::path& folder,
                             const std::filesystem::path& name);

}  // namespace rtai::tools
