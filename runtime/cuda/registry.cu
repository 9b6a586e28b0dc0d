// The kernels of each op, made from kernels.inc.
#include "runtime/cuda/device.cuh"
#include "runtime/cuda/kernel.h"

#include <type_traits>

namespace rtai::cuda::RTAI_GRID {

#define RTAI_CUDA_KERNEL(op, file, target) extern const Kernel<op> file##_##target;
#include "runtime/cuda/kernels.inc"
#undef RTAI_CUDA_KERNEL

namespace {

template <class Op>
bool runs_on(const Kernel<Op>& kernel, int capability) {
  return kernel.only ? kernel.capability == capability : kernel.capability <= capability;
}

/// The first of the list that the device can run.
template <class Op>
const Kernel<Op>* select(int capability) {
#define RTAI_CUDA_KERNEL(op, file, target)                             \
  if constexpr (std::is_same_v<Op, op>) {                              \
    if (runs_on(file##_##target, capability)) return &file##_##target; \
  }
#include "runtime/cuda/kernels.inc"
#undef RTAI_CUDA_KERNEL
  return nullptr;
}

}  // namespace

Kernels select_kernels(int capability) {
  return {.linear_i8 = select<LinearI8>(capability),
          .linear_f16 = select<LinearF16>(capability),
          .attention_i8 = select<AttentionI8>(capability),
          .attention_f16 = select<AttentionF16>(capability),
          .quantize_heads = select<QuantizeHeads>(capability),
          .rows = select<Rows>(capability)};
}

}  // namespace rtai::cuda::RTAI_GRID
