#include "runtime/kernels/rowwise.h"

#include <algorithm>
#include <cmath>

namespace rtai::cpu {
namespace {

void run(const L2Normalize::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.hidden;
    float* dst = args.dst + r * args.hidden;
    float squares = 0;
    for (Index i = 0; i < args.hidden; ++i)
      squares += src[i] * src[i];
    const float inverse = 1.0f / std::max(std::sqrt(squares), 1e-12f);
    for (Index i = 0; i < args.hidden; ++i)
      dst[i] = src[i] * inverse;
  }
}

}  // namespace

extern constinit const Kernel<L2Normalize> l2_normalize_ref{"l2_normalize_ref", Target::ref, &run};

}  // namespace rtai::cpu
