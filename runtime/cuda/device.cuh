// What device code is written in: threads, barriers, warp instructions, arithmetic.
//
// Kernels are compiled twice: by nvcc for GPUs, into namespace rtai::cuda::gpu, and by the C++
// compiler for tests, into rtai::cuda::host, where an emulation runs them. RTAI_GRID names the one
// being compiled.
#pragma once

#ifdef __CUDACC__
#include "runtime/cuda/internal/device_gpu.cuh"
#else
#include "runtime/cuda/emulation/device.h"
#endif
