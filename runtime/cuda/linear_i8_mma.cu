#include "runtime/cuda/internal/linear_mma.cuh"

namespace rtai::cuda::RTAI_GRID {

extern const Kernel<LinearI8> linear_i8_mma{
    "linear_i8_mma", 80,
    &MmaLinear<std::int8_t, LinearForm::floats, LinearForm::integers, LinearForm::heads>::run};

}  // namespace rtai::cuda::RTAI_GRID
