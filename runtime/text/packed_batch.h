// Encodings laid end to end, without padding, as Session::run() takes them.
#pragma once

#include "runtime/text/tokenizer.h"

#include <cstdint>
#include <span>
#include <vector>

namespace rtai::text {

struct PackedBatch {
  std::vector<std::int32_t> ids;            // [tokens]
  std::vector<std::int32_t> segments;       // [tokens]
  std::vector<std::int32_t> offsets = {0};  // [sequences + 1]

  /// One sequence more: [tokens] each.
  void add(std::span<const std::int32_t> more_ids, std::span<const std::int32_t> more_segments) {
    ids.insert(ids.end(), more_ids.begin(), more_ids.end());
    segments.insert(segments.end(), more_segments.begin(), more_segments.end());
    offsets.push_back(static_cast<std::int32_t>(ids.size()));
  }
  void add(const Encoding& encoding) { add(encoding.ids, encoding.segments); }
};

}  // namespace rtai::text
