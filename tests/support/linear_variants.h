// Kernels of linear layers whose instructions this machine may lack, built in a way it can run: the
// product's source over other instructions. Only tests have them.
#pragma once

#include "runtime/kernels/linear_f32.h"
#include "runtime/kernels/linear_i8.h"

namespace rtai::test {

/// linear_i8_avxvnni with the AVX-512 form of its instruction. Needs avx512_vnni.
extern const Kernel<LinearI8> linear_i8_avxvnni_variant;

/// linear_i8_amx on emulated tile registers. Needs avx2.
extern const Kernel<LinearI8> linear_i8_amx_variant;

/// linear_f32_amx on emulated tile registers. Needs avx2.
extern const Kernel<LinearF32> linear_f32_amx_variant;

}  // namespace rtai::test
