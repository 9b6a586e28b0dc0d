// The lists of kernels, one for each op, made from kernels.inc.
#include "runtime/kernels/attention.h"
#include "runtime/kernels/attention_i8.h"
#include "runtime/kernels/embedding.h"
#include "runtime/kernels/layer_norm.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "runtime/kernels/quantize_rows.h"
#include "runtime/kernels/rowwise.h"

#include <type_traits>
#include <vector>

namespace rtai {
namespace cpu {

#define RTAI_KERNEL(op, file, target) extern const Kernel<op> file##_##target;
#include "runtime/cpu/kernels.inc"
#undef RTAI_KERNEL

}  // namespace cpu

template <class Op>
std::span<const Kernel<Op>* const> implementations() {
  static const std::vector<const Kernel<Op>*> found = [] {
    std::vector<const Kernel<Op>*> list;
#define RTAI_KERNEL(op, file, target) \
  if constexpr (std::is_same_v<Op, op>) list.push_back(&cpu::file##_##target);
#include "runtime/cpu/kernels.inc"
#undef RTAI_KERNEL
    return list;
  }();
  return found;
}

template std::span<const Kernel<LinearI8>* const> implementations();
template std::span<const Kernel<LinearF32>* const> implementations();
template std::span<const Kernel<QuantizeRows>* const> implementations();
template std::span<const Kernel<LayerNorm>* const> implementations();
template std::span<const Kernel<Attention>* const> implementations();
template std::span<const Kernel<QuantizeHeads>* const> implementations();
template std::span<const Kernel<AttentionI8>* const> implementations();
template std::span<const Kernel<Embedding>* const> implementations();
template std::span<const Kernel<Activation>* const> implementations();
template std::span<const Kernel<Add>* const> implementations();
template std::span<const Kernel<L2Normalize>* const> implementations();
template std::span<const Kernel<MeanPool>* const> implementations();

}  // namespace rtai
