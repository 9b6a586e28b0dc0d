// What a GPU kernel is, and how one is chosen.
//
// A kernel is one implementation of an op of ops.h, in a file of its own, listed in kernels.inc. It
// exists twice in the sources' view: compiled for GPUs in namespace gpu, and for the emulation in
// namespace host (device.cuh).
#pragma once

#include "runtime/cuda/ops.h"

#include <string>
#include <string_view>
#include <vector>

namespace rtai::cuda {

/// A cudaStream_t; the emulation has none.
using Stream = void*;

template <class Op>
struct Kernel {
  std::string_view name;                                      // "linear_i8_mma"
  int capability;                                             // that a device must have: 80 for 8.0
  void (*run)(const typename Op::Args& args, Stream stream);  // launches, and that is all
  bool only = false;                                          // for no later capability either
};

/// One kernel of each op.
struct Kernels {
  const Kernel<LinearI8>* linear_i8 = nullptr;
  const Kernel<LinearF16>* linear_f16 = nullptr;
  const Kernel<AttentionI8>* attention_i8 = nullptr;
  const Kernel<AttentionF16>* attention_f16 = nullptr;
  const Kernel<QuantizeHeads>* quantize_heads = nullptr;
  const Kernel<Rows>* rows = nullptr;

  std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const std::string_view name : {linear_i8->name, linear_f16->name, attention_i8->name,
                                        attention_f16->name, quantize_heads->name, rows->name})
      all.emplace_back(name);
    return all;
  }
};

/// The lowest capability that every op has a kernel for.
inline constexpr int kLowestCapability = 80;

// The best kernels for a device; its capability is at least kLowestCapability.
namespace gpu {
Kernels select_kernels(int capability);
}
namespace host {
Kernels select_kernels(int capability);
}

}  // namespace rtai::cuda
