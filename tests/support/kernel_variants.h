// Kernels whose instructions this machine may lack, built in a way it can run: the product's source
// over other instructions. Only tests have them.
#pragma once

#include "runtime/kernels/attention_i8.h"
#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"
#include "tests/support/kernels_under_test.h"

namespace rtai::test {

/// linear_i8_avxvnni with the AVX-512 form of its instruction. Needs avx512_vnni.
extern const Kernel<LinearI8> linear_i8_avxvnni_variant;

// On emulated tile registers. They need avx2.
extern const Kernel<LinearI8> linear_i8_amx_variant;
extern const Kernel<LinearF32> linear_f32_amx_variant;
extern const Kernel<AttentionI8> attention_i8_amx_variant;

template <class Op>
void add_variant(const Kernel<Op>& variant,
                 Target needed,
                 std::vector<const Kernel<Op>*>& kernels) {
  if (is_available(needed)) {
    kernels.push_back(&variant);
  } else {
    WARN("skipped " << variant.name << ": " << availability_reason(needed));
  }
}

}  // namespace rtai::test
