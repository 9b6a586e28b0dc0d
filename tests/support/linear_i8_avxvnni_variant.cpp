// Compiled with the flags of avx2; the one instruction that differs has a function of its own.
#include "runtime/cpu/linear_i8_avxvnni.h"
#include "tests/support/kernel_variants.h"

namespace rtai::test {
namespace {

using cpu::Ints;

__attribute__((target("avx512vl,avx512vnni"))) __m256i add_dot(__m256i sums,
                                                               __m256i source,
                                                               __m256i weights) {
  return _mm256_dpbusd_epi32(sums, source, weights);
}

struct Dot : cpu::VnniShape {
  static Ints add(Ints sums, __m256i source, Ints weights) {
    return {add_dot(sums.low, source, weights.low), add_dot(sums.high, source, weights.high)};
  }
};

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  cpu::LinearTiles<cpu::I8Sums<Dot>, LinearI8::Args>(args).run();
}

}  // namespace

extern const Kernel<LinearI8> linear_i8_avxvnni_variant{"linear_i8_avxvnni (EVEX)", Target::avxvnni,
                                                        &run};

}  // namespace rtai::test
