// hopper.cuh on a GPU, compiled for sm_90a: PTX behind the names that
// runtime/cuda/emulation/hopper.h has too. Sources: PTX manual, sections on wgmma (matrix
// descriptors, 128-byte swizzle), cp.async.bulk.tensor and mbarrier.
#pragma once

#include "runtime/cuda/device.cuh"
#include "runtime/cuda/hopper.cuh"

#include <cuda.h>  // CUtensorMap; no function of the driver is linked

namespace rtai::cuda::gpu {

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define RTAI_HAS_WGMMA 1
#endif

struct TileSource {
  CUtensorMap map;
};

#ifdef RTAI_HAS_WGMMA

/// In shared memory: completes a phase when all have arrived and all announced bytes are there.
using Barrier = std::uint64_t;

__device__ inline void init_barrier(Barrier* barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
}
/// Makes barriers known to the copy engine; before the block's sync.
__device__ inline void publish_barriers() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
__device__ inline void arrive(Barrier* barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ inline void arrive_and_expect(Barrier* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
}
__device__ inline void wait_for_phase(Barrier* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared.b64 done, [%0], %1;\n"
      "@!done bra again;\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}
__device__ inline void copy_src(
    void* shared, const TileSource& source, int byte, int row, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3}], [%4];" ::"r"(shared_address(shared)),
      "l"(&source.map), "r"(byte), "r"(row), "r"(shared_address(barrier))
      : "memory");
}
/// `stretch`: the tile's first column, over those that a lane's stretches are apart.
__device__ inline void copy_weight(
    void* shared, const TileSource& source, int byte, int stretch, Barrier* barrier) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3, %3, %3, %4}], [%5];" ::"r"(shared_address(shared)),
      "l"(&source.map), "r"(byte), "r"(0), "r"(stretch), "r"(shared_address(barrier))
      : "memory");
}

/// By all of four warps that begin at a multiple of four: what they have from here on.
template <int kRegisters>
__device__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

/// A matrix of rows of 128 bytes in shared memory, swizzled, at a multiple of 1024 bytes: eight
/// rows are 1024 bytes apart from the next eight.
using Described = std::uint32_t;  // what is not the same for all of them
__device__ inline Described describe_rows(const void* shared) {
  return (shared_address(shared) & 0x3ffffu) >> 4 | 1u << 16;
}
/// The same, some bytes further; a multiple of 1024, or within the rows.
__device__ inline Described at_byte(Described rows, int byte) {
  return rows + static_cast<std::uint32_t>(byte >> 4);
}
/// 1024 bytes from eight rows to the next, swizzled by 128 bytes.
__device__ inline std::uint64_t whole_description(Described rows) {
  constexpr std::uint64_t kSame = std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
  return rows | kSame;
}

__device__ inline void begin_products() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void commit_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kGroupsLeft>
__device__ void wait_products() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kGroupsLeft) : "memory");
}

/// After wait_products<0>: sums are not read before, as the compiler knows nothing of the wait.
template <int kN>
__device__ void settle(std::int32_t (&sums)[kN][4]) {
#pragma unroll
  for (int i = 0; i < 4 * kN; ++i)
    asm volatile("" : "+r"(sums[i / 4][i % 4])::"memory");
}
template <int kN>
__device__ void settle(float (&sums)[kN][4]) {
#pragma unroll
  for (int i = 0; i < 4 * kN; ++i)
    asm volatile("" : "+f"(sums[i / 4][i % 4])::"memory");
}

// The operands of an instruction are part of its text, so macros write them: 32 sums of a thread
// for each 64 columns of the result.
#define RTAI_32_NAMES                                                                          \
  "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, " \
  "%20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define RTAI_48_NAMES \
  RTAI_32_NAMES       \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47"
#define RTAI_64_NAMES                                                                       \
  RTAI_32_NAMES                                                                             \
  ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, " \
  "%49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define RTAI_96_NAMES                                                                       \
  RTAI_64_NAMES                                                                             \
  ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, " \
  "%81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define RTAI_4_SUMS(in_out, i) \
  in_out(sums[i][0]), in_out(sums[i][1]), in_out(sums[i][2]), in_out(sums[i][3])
#define RTAI_32_SUMS(in_out, i)                                                           \
  RTAI_4_SUMS(in_out, i), RTAI_4_SUMS(in_out, i + 1), RTAI_4_SUMS(in_out, i + 2),         \
      RTAI_4_SUMS(in_out, i + 3), RTAI_4_SUMS(in_out, i + 4), RTAI_4_SUMS(in_out, i + 5), \
      RTAI_4_SUMS(in_out, i + 6), RTAI_4_SUMS(in_out, i + 7)
#define RTAI_64_SUMS(in_out, i) RTAI_32_SUMS(in_out, i), RTAI_32_SUMS(in_out, i + 8)
#define RTAI_96_SUMS(in_out, i) RTAI_64_SUMS(in_out, i), RTAI_32_SUMS(in_out, i + 16)

// sums = (keep ? sums : 0) + 64 rows of a with as many rows of b, 32 bytes of each. Warp w of four
// has rows 16 w to 16 w + 15, in fragments as mma's.
#define RTAI_MULTIPLY_GROUP(Sum, in_out, count, instruction, a_name, b_name, keep_name, flags) \
  __device__ inline void multiply_group(Sum(&sums)[count / 4][4], Described a, Described b,    \
                                        bool keep) {                                           \
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, " keep_name                                 \
                 ", 0;\nwgmma.mma_async.sync.aligned." instruction " {" RTAI_##count##_NAMES   \
                 "}, " a_name ", " b_name ", p" flags ";\n}"                                   \
                 : RTAI_##count##_SUMS(in_out, 0)                                              \
                 : "l"(whole_description(a)), "l"(whole_description(b)), "r"(keep ? 1 : 0));   \
  }
RTAI_MULTIPLY_GROUP(std::int32_t, "+r", 32, "m64n64k32.s32.s8.s8", "%32", "%33", "%34", "")
RTAI_MULTIPLY_GROUP(std::int32_t, "+r", 64, "m64n128k32.s32.s8.s8", "%64", "%65", "%66", "")
RTAI_MULTIPLY_GROUP(std::int32_t, "+r", 96, "m64n192k32.s32.s8.s8", "%96", "%97", "%98", "")
RTAI_MULTIPLY_GROUP(float, "+f", 32, "m64n64k16.f32.f16.f16", "%32", "%33", "%34", ", 1, 1, 0, 0")
RTAI_MULTIPLY_GROUP(float, "+f", 64, "m64n128k16.f32.f16.f16", "%64", "%65", "%66", ", 1, 1, 0, 0")
RTAI_MULTIPLY_GROUP(float, "+f", 96, "m64n192k16.f32.f16.f16", "%96", "%97", "%98", ", 1, 1, 0, 0")
#undef RTAI_MULTIPLY_GROUP
#undef RTAI_96_SUMS
#undef RTAI_64_SUMS
#undef RTAI_32_SUMS
#undef RTAI_4_SUMS
#undef RTAI_96_NAMES
#undef RTAI_64_NAMES
#undef RTAI_32_NAMES

#endif  // RTAI_HAS_WGMMA

}  // namespace rtai::cuda::gpu
