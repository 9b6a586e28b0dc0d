// Embedding in vectors.
#pragma once

#include "runtime/cpu/vector.h"
#include "runtime/kernels/embedding.h"

namespace rtai::cpu {
namespace {

/// One row of a table: floats, or integers with a scale.
struct LookupRow {
  const float* floats = nullptr;
  const std::int8_t* integers = nullptr;
  float scale = 0;
};

inline LookupRow row_of(const LookupTable& table, const std::int32_t* rows, Index t, Index hidden) {
  if (table.data == nullptr) return {};
  const Index row = rows[t];
  if (table.scale == nullptr) {
    return {.floats = static_cast<const float*>(table.data) + row * hidden};
  }
  return {.integers = static_cast<const std::int8_t*>(table.data) + row * hidden,
          .scale = table.scale[row]};
}

template <class AnyLanes>
Floats add_part(Floats sum, const LookupRow& row, Index i, AnyLanes lanes) {
  if (row.floats != nullptr) return sum + load(row.floats + i, lanes);
  if (row.integers == nullptr) return sum;
  return sum + load_bytes(row.integers + i, lanes) * all(row.scale);
}

void embedding(const Embedding::Args& args, ExecContext& /*context*/) noexcept {
  for (Index t = 0; t < args.tokens; ++t) {
    const LookupRow word = row_of(args.word, args.ids, t, args.hidden);
    const LookupRow position = row_of(args.position, args.positions, t, args.hidden);
    const LookupRow segment = row_of(args.segment, args.segments, t, args.hidden);
    float* dst = args.dst + t * args.hidden;
    for_vectors(args.hidden, [&](Index i, auto lanes) {
      Floats sum = add_part(zeros(), word, i, lanes);
      sum = add_part(sum, position, i, lanes);
      store(dst + i, add_part(sum, segment, i, lanes), lanes);
    });
  }
}

}  // namespace
}  // namespace rtai::cpu
