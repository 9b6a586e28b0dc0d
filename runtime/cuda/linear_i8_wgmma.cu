#include "runtime/cuda/internal/linear_hopper.cuh"

namespace rtai::cuda::RTAI_GRID {

extern const Kernel<LinearI8> linear_i8_mma;

namespace {

void run(const LinearArgs& args, Stream stream) {
  using Hopper =
      HopperLinear<std::int8_t, LinearForm::floats, LinearForm::integers, LinearForm::heads>;
  if (!Hopper::run(args, stream)) linear_i8_mma.run(args, stream);
}

}  // namespace

extern const Kernel<LinearI8> linear_i8_wgmma{"linear_i8_wgmma", 90, &run, true};

}  // namespace rtai::cuda::RTAI_GRID
