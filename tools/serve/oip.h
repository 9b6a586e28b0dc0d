// The Open Inference Protocol, version 2, over HTTP: tensors as JSON or, in the binary extension,
// behind it.
//
// Inputs: "text" BYTES [n] (and "text_b" BYTES [n] for pairs), or "input_ids" INT64 or INT32 [n,
// seq] with "attention_mask" and "token_type_ids" of the same shape. Outputs: those of the engine,
// FP32 [n, columns], or [n, seq, columns] with zeros behind short texts; of a text classifier also
// "label" BYTES [n] and "score" FP32 [n]; with texts "answer" BYTES [n], a line of `rtai run
// --json` each.
//
// Source: Open Inference Protocol, rest specification; Triton's binary tensor data extension.
#pragma once

#include "tools/serve/inquiry.h"

#include <string>

namespace rtai::serve {

/// GET /v2.
Json server_metadata();
/// GET /v2/models/NAME.
Json model_metadata(const EngineSet& set);

/// POST /v2/models/NAME[/versions/V]/infer. `json_bytes` is the header
/// Inference-Header-Content-Length: how many bytes of the body are JSON; the rest are tensors.
Result<Inquiry> read_infer(const EngineSet& set,
                           const std::string& body,
                           std::optional<std::size_t> json_bytes);

/// The place in the set of version "1", "2", ...
std::optional<std::size_t> engine_of_version(const EngineSet& set, std::string_view version);

}  // namespace rtai::serve
