#include "libopt/pass/evaluator.h"

namespace rtai {

void TokenBatch::append(std::span<const std::int32_t> sequence_ids,
                        std::span<const std::int32_t> sequence_segments) {
  RTAI_ASSERT(sequence_ids.size() == sequence_segments.size(), "one segment for each token");
  ids.insert(ids.end(), sequence_ids.begin(), sequence_ids.end());
  segments.insert(segments.end(), sequence_segments.begin(), sequence_segments.end());
  offsets.push_back(std::ssize(ids));
}

}  // namespace rtai
