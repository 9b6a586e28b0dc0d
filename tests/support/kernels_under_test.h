// Which kernels a test holds against the reference.
#pragma once

#include "runtime/kernels/kernel.h"

#include <catch2/catch.hpp>

#include <vector>

namespace rtai::test {

/// Every kernel of kernels.inc that this machine can run; the others are named in a warning.
template <class Op>
std::vector<const Kernel<Op>*> kernels_under_test() {
  std::vector<const Kernel<Op>*> kernels;
  for (const Kernel<Op>* kernel : implementations<Op>()) {
    if (is_available(kernel->target)) {
      kernels.push_back(kernel);
    } else {
      WARN("skipped " << kernel->name << ": " << availability_reason(kernel->target));
    }
  }
  return kernels;
}

/// The kernels under test that promise the same bits as each other: all but the reference.
template <class Op>
std::vector<const Kernel<Op>*> vector_kernels() {
  auto kernels = kernels_under_test<Op>();
  std::erase_if(kernels, [](const Kernel<Op>* kernel) { return kernel->target == Target::ref; });
  return kernels;
}

template <class Op>
const Kernel<Op>& reference_kernel() {
  return *implementations<Op>().back();
}

template <class Op>
void run_kernel(const Kernel<Op>& kernel, const typename Op::Args& args, std::byte* scratch) {
  ExecContext context{.scratch = scratch};
  kernel.run(args, context);
}

}  // namespace rtai::test
