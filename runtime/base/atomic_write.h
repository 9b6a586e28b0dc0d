// Files and folders that appear whole or not at all, whatever interrupts their writing.
#pragma once

#include "runtime/base/result.h"

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string_view>

namespace rtai {

/// Writes `parts` one after the other, flushes them to disk and only then puts them in place, so
/// that `path` holds the old content or the new one, never a mixture. Links are followed; a device
/// or a pipe is written to as it is.
///
/// Nothing else is left behind: the file has no name until it is complete. Where the file system
/// cannot do that, and for the moment between two system calls when a file is replaced, it has a
/// temporary name, which the next write into the folder removes if the process was killed there.
///
/// Errors: io, naming the file and the reason.
Result<void> write_file_atomically(const std::filesystem::path& path,
                                   std::span<const std::span<const std::byte>> parts);
Result<void> write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// Makes a new folder of plain files: `fill` writes them into a folder with a temporary name, which
/// then gets its own. One at a time.
///
/// Errors: what `fill` says; io, as when there is a folder at `path` that is not empty.
Result<void> write_folder_atomically(
    const std::filesystem::path& path,
    const std::function<Result<void>(const std::filesystem::path& folder)>& fill);

/// Removes what writes in progress have made, if there is any. Safe in a signal handler.
void discard_unfinished_writes() noexcept;

}  // namespace rtai
