// What a kernel is, and how one is chosen.
//
// An op is a struct in this folder: its contract, its Args, its name. A kernel is one
// implementation of it for one target, in runtime/cpu, listed in runtime/cpu/kernels.inc. All
// implementations but the reference give the same bits, so that an engine answers alike on every
// machine that has AVX2; weights of 16 bits on AMX are the one exception (linear_f32.h).
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/base/result.h"
#include "runtime/kernels/target.h"

#include <span>
#include <string_view>

namespace rtai {

/// What a kernel may use beside its Args: memory of the thread it runs on, 64-byte aligned, of the
/// size that the op's contract asks for.
struct ExecContext {
  std::byte* scratch = nullptr;
};

template <class Op>
struct Kernel {
  std::string_view name;  // "layer_norm_avx2": shown by `rtai bench --profile`
  Target target;
  void (*run)(const typename Op::Args& args, ExecContext& context) noexcept;
};

/// Every implementation of `Op` in this binary, best first, the reference last.
template <class Op>
std::span<const Kernel<Op>* const> implementations();

/// The best implementation for `target`: its own, or that of the best target below it that this
/// machine can run. There always is one: the reference.
template <class Op>
const Kernel<Op>& select_kernel(Target target) {
  const Kernel<Op>* chosen = nullptr;
  for (const Kernel<Op>* kernel : implementations<Op>()) {
    chosen = kernel;
    if (kernel->target >= target && is_available(kernel->target)) break;
  }
  return *chosen;
}

}  // namespace rtai
