#include "runtime/kernels/rowwise.h"

namespace rtai::cpu {
namespace {

void run(const MeanPool::Args& args, ExecContext& /*context*/) noexcept {
  for (Index i = 0; i < args.hidden; ++i)
    args.dst[i] = 0;
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.hidden;
    for (Index i = 0; i < args.hidden; ++i)
      args.dst[i] += src[i];
  }
  const float inverse = 1.0f / static_cast<float>(args.rows);
  for (Index i = 0; i < args.hidden; ++i)
    args.dst[i] *= inverse;
}

}  // namespace

extern constinit const Kernel<MeanPool> mean_pool_ref{"mean_pool_ref", Target::ref, &run};

}  // namespace rtai::cpu
