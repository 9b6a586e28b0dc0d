// Requests of Triton's server: what they ask, and their answers.
#pragma once

#include "runtime/base/result.h"
#include "tools/serve/tensors.h"
#include "tools/triton/served_model.h"
#include "tools/triton/triton_api.h"

#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace rtai::triton {

/// A request that was read.
struct Inquiry {
  std::vector<tools::Sample> samples;
  std::vector<text::Encoding> encodings;  // [sample]
  serve::Padding padding;
  std::vector<std::string> outputs;  // wanted
};

/// Reads and tokenizes a request; what the engine cannot take is found here.
///
/// Errors: invalid_input, without a word of the request's texts.
Result<Inquiry> read_request(const ServedModel& model, TRITONBACKEND_Request* request);

/// Fills a response. Errors: as output_tensors, and what the server says.
Result<void> fill_response(const ServedModel& model,
                           const Inquiry& inquiry,
                           std::span<const std::vector<tools::SampleOutput>> outputs,
                           TRITONBACKEND_Response* response);

/// How many tokens a request may have, from the sizes of its inputs alone: reading texts would hold
/// up the server's queue. Four bytes of text count as a token.
Result<Index> estimated_tokens(const ServedModel& model, TRITONBACKEND_Request* request);

}  // namespace rtai::triton
