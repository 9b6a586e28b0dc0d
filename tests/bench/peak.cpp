#include "tests/bench/peak.h"

#include <algorithm>
#include <chrono>

namespace rtai::test {
namespace {

constexpr int kRuns = 40;
constexpr long kLoops = 20000;
constexpr int kInstructions = 12;  // to different registers: enough to hide every latency

/// Best operations per nanosecond of `loop`, whose instructions do `operations` each.
template <class Loop>
double best_rate(double operations, Loop&& loop) {
  double best = 0;
  for (int i = 0; i < kRuns; ++i) {
    const auto start = std::chrono::steady_clock::now();
    loop(kLoops);
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    best = std::max(best, operations * kInstructions * kLoops / time.count());
  }
  return best;
}

// In assembler, so that no build type and no compiler puts anything else into the loop. The values
// multiplied do not matter, but denormal ones would be slow: registers 12 and 13 are zero.
#define RTAI_REPEAT(op, r)                                                                    \
  op " %%" r "13, %%" r "12, %%" r "0\n" op " %%" r "13, %%" r "12, %%" r "1\n" op " %%" r    \
     "13, %%" r "12, %%" r "2\n" op " %%" r "13, %%" r "12, %%" r "3\n" op " %%" r "13, %%" r \
     "12, %%" r "4\n" op " %%" r "13, %%" r "12, %%" r "5\n" op " %%" r "13, %%" r "12, %%" r \
     "6\n" op " %%" r "13, %%" r "12, %%" r "7\n" op " %%" r "13, %%" r "12, %%" r "8\n" op   \
     " %%" r "13, %%" r "12, %%" r "9\n" op " %%" r "13, %%" r "12, %%" r "10\n" op " %%" r   \
     "13, %%" r "12, %%" r "11\n"

#define RTAI_PEAK_LOOP(name, op, r)                                                             \
  void name(long loops) {                                                                       \
    asm volatile(                                                                               \
        "vxorps %%xmm12, %%xmm12, %%xmm12\nvxorps %%xmm13, %%xmm13, %%xmm13\n"                  \
        "1:\n" RTAI_REPEAT(op, r) "dec %0\njnz 1b\n"                                            \
        : "+r"(loops)                                                                           \
        :                                                                                       \
        : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
          "xmm10", "xmm11", "xmm12", "xmm13");                                                  \
  }

RTAI_PEAK_LOOP(dot_i8_512, "vpdpbusd", "zmm")
RTAI_PEAK_LOOP(dot_bf16_512, "vdpbf16ps", "zmm")
RTAI_PEAK_LOOP(fma_512, "vfmadd231ps", "zmm")
RTAI_PEAK_LOOP(dot_i8_256, "vpmaddubsw", "ymm")
RTAI_PEAK_LOOP(fma_256, "vfmadd231ps", "ymm")
#undef RTAI_PEAK_LOOP
#undef RTAI_REPEAT

}  // namespace

Peak measure_peak() {
  Peak peak;
  if (__builtin_cpu_supports("avx2")) {
    peak.int8 = best_rate(64, dot_i8_256);
    peak.f32 = best_rate(16, fma_256);
  }
  if (__builtin_cpu_supports("avx512f")) peak.f32 = best_rate(32, fma_512);
  if (__builtin_cpu_supports("avx512vnni")) peak.int8 = best_rate(128, dot_i8_512);
  if (__builtin_cpu_supports("avx512bf16")) peak.bf16 = best_rate(64, dot_bf16_512);
  return peak;
}

}  // namespace rtai::test
