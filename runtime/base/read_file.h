// A file read into memory.
#pragma once

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/result.h"

#include <filesystem>

namespace rtai {

/// The bytes of a regular file as they are now, in memory of their own: what becomes of the file
/// does them no harm. Large files are read by all usable cores.
///
/// Errors: not_found; invalid_input if it is not a regular file; io, also if it became shorter
/// meanwhile; device if there is not enough memory.
Result<AlignedBuffer> read_file(const std::filesystem::path& path);

}  // namespace rtai
