// A walk over a serialized model before it is parsed: small files can ask protobuf for a lot of
// memory (140 bytes for each 2 of an empty tensor), so what they ask for is counted first.
#pragma once

#include "libopt/onnx/import.h"

#include <cstddef>
#include <span>

namespace rtai::onnx_io {

/// Errors: invalid_input if the bytes are not a protobuf message; unsupported, saying which, if a
/// limit is passed.
Result<void> scan_model(std::span<const std::byte> bytes, const ImportLimits& limits);

}  // namespace rtai::onnx_io
