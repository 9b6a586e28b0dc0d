#include "runtime/kernels/rowwise.h"

namespace rtai::cpu {
namespace {

void run(const Add::Args& args, ExecContext& /*context*/) noexcept {
  for (Index i = 0; i < args.elements; ++i)
    args.dst[i] = args.a[i] + args.b[i];
}

}  // namespace

extern constinit const Kernel<Add> add_ref{"add_ref", Target::ref, &run};

}  // namespace rtai::cpu
