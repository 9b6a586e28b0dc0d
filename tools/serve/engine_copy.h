// Engines in memory of their own, so that a file that is overwritten while it serves does no harm.
#pragma once

#include "runtime/base/aligned_buffer.h"
#include "runtime/base/result.h"
#include "runtime/engine/engine.h"

#include <filesystem>

namespace rtai::serve {

/// An engine's bytes as they were at one moment. Read, not mapped: a file that shrinks meanwhile
/// must not end the process.
///
/// Errors: not_found, io; device if there is not enough memory.
Result<AlignedBuffer> read_engine_bytes(const std::filesystem::path& path);

/// The engine in such bytes, all digests checked. Errors: also those of engine::parse.
Result<engine::Engine> read_engine(const std::filesystem::path& path);

}  // namespace rtai::serve
