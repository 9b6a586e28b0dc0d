#pragma once

#include "runtime/kernels/kernel.h"

namespace rtai {

/// A table of rows, f32 or i8 with a scale for each row.
struct LookupTable {
  const void* data = nullptr;    // [rows, hidden]; null: no such table
  const float* scale = nullptr;  // [rows]; null: f32
};

/// dst[t] = word[ids[t]] + position[positions[t]] + segment[segments[t]], absent tables left out
///
/// The sum is taken in this order; an i8 row is integer * scale.
/// Shapes: ids, positions, segments [tokens]; dst [tokens, hidden].
/// Planned: every index is inside its table.
struct Embedding {
  static constexpr std::string_view kName = "embedding";
  struct Args {
    const std::int32_t* ids;
    const std::int32_t* positions;
    const std::int32_t* segments;
    LookupTable word;
    LookupTable position;
    LookupTable segment;
    float* dst;
    Index tokens;
    Index hidden;
  };
};

}  // namespace rtai
