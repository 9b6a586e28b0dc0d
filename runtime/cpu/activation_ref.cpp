#include "runtime/cpu/scalar_functions.h"
#include "runtime/kernels/rowwise.h"

namespace rtai::cpu {
namespace {

void run(const Activation::Args& args, ExecContext& /*context*/) noexcept {
  for (Index i = 0; i < args.elements; ++i)
    args.dst[i] = apply(args.function, args.src[i]);
}

}  // namespace

extern constinit const Kernel<Activation> activation_ref{"activation_ref", Target::ref, &run};

}  // namespace rtai::cpu
