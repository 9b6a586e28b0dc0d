#include "runtime/kernels/embedding.h"

namespace rtai::cpu {
namespace {

void add_row(const LookupTable& table, Index row, float* dst, Index hidden) {
  if (table.scale == nullptr) {
    const float* src = static_cast<const float*>(table.data) + row * hidden;
    for (Index i = 0; i < hidden; ++i)
      dst[i] += src[i];
    return;
  }
  const std::int8_t* src = static_cast<const std::int8_t*>(table.data) + row * hidden;
  const float scale = table.scale[row];
  for (Index i = 0; i < hidden; ++i)
    dst[i] += static_cast<float>(src[i]) * scale;
}

void run(const Embedding::Args& args, ExecContext& /*context*/) noexcept {
  for (Index t = 0; t < args.tokens; ++t) {
    float* dst = args.dst + t * args.hidden;
    for (Index i = 0; i < args.hidden; ++i)
      dst[i] = 0;
    add_row(args.word, args.ids[t], dst, args.hidden);
    if (args.position.data != nullptr) add_row(args.position, args.positions[t], dst, args.hidden);
    if (args.segment.data != nullptr) add_row(args.segment, args.segments[t], dst, args.hidden);
  }
}

}  // namespace

extern constinit const Kernel<Embedding> embedding_ref{"embedding_ref", Target::ref, &run};

}  // namespace rtai::cpu
