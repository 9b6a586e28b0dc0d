#include "runtime/cuda/internal/linear_hopper.cuh"

namespace rtai::cuda::RTAI_GRID {

extern const Kernel<LinearF16> linear_f16_mma;

namespace {

void run(const LinearArgs& args, Stream stream) {
  using Hopper = HopperLinear<F16, LinearForm::floats>;
  if (!Hopper::run(args, stream)) linear_f16_mma.run(args, stream);
}

}  // namespace

extern const Kernel<LinearF16> linear_f16_wgmma{"linear_f16_wgmma", 90, &run, true};

}  // namespace rtai::cuda::RTAI_GRID
