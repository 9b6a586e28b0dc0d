// device.cuh on a GPU: PTX behind the names that runtime/cuda/emulation/device.h has too.
#pragma once

#include "runtime/base/dtype.h"
#include "runtime/cuda/launch_shape.h"

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#define RTAI_NOINLINE __noinline__
#define RTAI_GRID gpu

namespace rtai::cuda::gpu {

/// True if grids may start before the one in front has ended (programmatic dependent launch).
inline bool grids_overlap() {
  int device = 0;
  int major = 0;
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major >= 9;
}

inline int multiprocessors() {
  int device = 0;
  int count = 1;
  if (cudaGetDevice(&device) == cudaSuccess)
    cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device);
  return count;
}

/// Errors stay with the runtime until the graph that is being recorded ends.
template <class Args>
void launch(void (*kernel)(Args), const LaunchShape& shape, void* stream, const Args& args) {
  constexpr std::size_t kSharedWithoutAsking = 48 * 1024;
  if (shape.shared_bytes > kSharedWithoutAsking) {
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                         static_cast<int>(shape.shared_bytes));
  }
  // One division of each multiprocessor's memory for all kernels: another one must wait until the
  // multiprocessor is idle.
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                       cudaSharedmemCarveoutMaxShared);
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(shape.blocks));
  config.blockDim = dim3(static_cast<unsigned>(shape.threads));
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  if (shape.follows_grid && grids_overlap()) {
    config.attrs = &overlap;
    config.numAttrs = 1;
  }
  cudaLaunchKernelEx(&config, kernel, args);
}

/// Fails the recording.
inline void fail_launch() {
  cudaLaunchKernelExC(nullptr, nullptr, nullptr);
}

struct F16 {
  std::uint16_t bits;
};
__device__ inline F16 to_f16(float value) {
  return {__half_as_ushort(__float2half_rn(value))};
}
__device__ inline float to_f32(F16 value) {
  return __half2float(__ushort_as_half(value.bits));
}

__device__ inline int thread_index() {
  return static_cast<int>(threadIdx.x);
}
__device__ inline int block_index() {
  return static_cast<int>(blockIdx.x);
}
__device__ inline int grid_blocks() {
  return static_cast<int>(gridDim.x);
}

extern __shared__ __align__(1024) uint4 all_shared_memory[];  // what a swizzle repeats after
template <class T>
__device__ T* shared_memory() {
  return reinterpret_cast<T*>(all_shared_memory);
}

// The grid behind may start once every block of this one has said so; what it does before it waits
// must not depend on this one.
__device__ inline void let_next_grid_start() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}
// Until the grid in front has ended, and what it wrote can be read.
__device__ inline void wait_for_grid_in_front() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

__device__ inline void sync_block() {
  __syncthreads();
}
/// Of `threads` of the block that meet at barrier `number` from 1 on; whole warps.
__device__ inline void sync_threads(int number, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
__device__ inline void sync_warp() {
  __syncwarp();
}
__device__ inline void pause() {
  __nanosleep(20);
}

template <class T>
__device__ T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(0xffffffffu, value, mask);
}

/// For the compiler to know.
__device__ inline void assume(bool condition) {
  __builtin_assume(condition);
}
/// `value`, which all lanes of a warp have, for the compiler to know.
__device__ inline int uniform(int value) {
  return __shfl_sync(0xffffffffu, value, 0);
}

__device__ inline std::uint32_t shared_address(const void* pointer) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(pointer));
}

// Reads nothing where not valid: the destination becomes zeros.
__device__ inline void copy_async16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void commit_copies() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int kGroupsLeft>
__device__ void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kGroupsLeft) : "memory");
}

__device__ inline void load_matrices(std::uint32_t (&result)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
               : "r"(shared_address(row))
               : "memory");
}
__device__ inline void load_matrices_transposed(std::uint32_t (&result)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(result[0]), "=r"(result[1]), "=r"(result[2]), "=r"(result[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ inline void multiply_add(std::int32_t (&c)[4],
                                    const std::uint32_t (&a)[4],
                                    std::uint32_t b0,
                                    std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void multiply_add_u8(std::int32_t (&c)[4],
                                       const std::uint32_t (&a)[4],
                                       std::uint32_t b0,
                                       std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void multiply_add(float (&c)[4],
                                    const std::uint32_t (&a)[4],
                                    std::uint32_t b0,
                                    std::uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ inline std::uint32_t permute_bytes(std::uint32_t a,
                                              std::uint32_t b,
                                              std::uint32_t selector) {
  return __byte_perm(a, b, selector);
}

__device__ inline std::uint32_t atomic_max(std::uint32_t* address, std::uint32_t value) {
  return atomicMax(address, value);
}
__device__ inline int atomic_add(int* address, int value) {
  return atomicAdd(address, value);
}
__device__ inline std::uint32_t atomic_or(std::uint32_t* address, std::uint32_t value) {
  return atomicOr(address, value);
}
// The fence makes what the block wrote before a barrier visible with the sum.
__device__ inline void add_release(int* address, int value) {
  __threadfence();
  asm volatile("red.release.gpu.global.add.s32 [%0], %1;" ::"l"(address), "r"(value) : "memory");
}
__device__ inline int load_acquire(const int* address) {
  int value;
  asm volatile("ld.acquire.gpu.global.s32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}
__device__ inline std::uint32_t load_fresh(const std::uint32_t* address) {
  std::uint32_t value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(address) : "memory");
  return value;
}

__device__ inline float load_fresh(const float* address) {
  float value;
  asm volatile("ld.relaxed.gpu.global.f32 %0, [%1];" : "=f"(value) : "l"(address) : "memory");
  return value;
}

__device__ inline std::uint32_t float_bits(float value) {
  return __float_as_uint(value);
}
__device__ inline float bits_float(std::uint32_t bits) {
  return __uint_as_float(bits);
}
__device__ inline float fma_f32(float a, float b, float c) {
  return __fmaf_rn(a, b, c);
}
__device__ inline float divide(float a, float b) {
  return __fdiv_rn(a, b);
}
__device__ inline float square_root(float x) {
  return __fsqrt_rn(x);
}
__device__ inline int nearest_int(float x) {
  return __float2int_rn(x);
}
__device__ inline float min_or_nan(float a, float b) {
  float result;
  asm("min.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
__device__ inline float max_or_nan(float a, float b) {
  float result;
  asm("max.NaN.f32 %0, %1, %2;" : "=f"(result) : "f"(a), "f"(b));
  return result;
}
// Two instructions of sm_86 and later: F2IP rounds two floats and packs them.
#define RTAI_TO_BYTES(name, type)                                            \
  __device__ inline std::uint32_t name(float a, float b, float c, float d) { \
    std::uint32_t bytes;                                                     \
    asm("cvt.pack.sat." type ".s32.b32 %0, %1, %2, 0;"                       \
        : "=r"(bytes)                                                        \
        : "r"(nearest_int(d)), "r"(nearest_int(c)));                         \
    asm("cvt.pack.sat." type ".s32.b32 %0, %1, %2, %0;"                      \
        : "+r"(bytes)                                                        \
        : "r"(nearest_int(b)), "r"(nearest_int(a)));                         \
    return bytes;                                                            \
  }
RTAI_TO_BYTES(to_s8, "s8")
RTAI_TO_BYTES(to_u8, "u8")
#undef RTAI_TO_BYTES

}  // namespace rtai::cuda::gpu
