#include "runtime/cuda/internal/linear_mma.cuh"

namespace rtai::cuda::RTAI_GRID {

extern const Kernel<LinearF16> linear_f16_mma{"linear_f16_mma", 80,
                                              &MmaLinear<F16, LinearForm::floats>::run};

}  // namespace rtai::cuda::RTAI_GRID
