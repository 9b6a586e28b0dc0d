#include "runtime/cpu/linear_i8_avxvnni.h"

namespace rtai::cpu {
namespace {

struct Dot : VnniShape {
  static Ints add(Ints sums, __m256i source, Ints weights) {
    return {_mm256_dpbusd_avx_epi32(sums.low, source, weights.low),
            _mm256_dpbusd_avx_epi32(sums.high, source, weights.high)};
  }
};

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  LinearTiles<I8Sums<Dot>, LinearI8::Args>(args).run();
}

}  // namespace

extern constinit const Kernel<LinearI8> linear_i8_avxvnni{"linear_i8_avxvnni", Target::avxvnni,
                                                          &run};

}  // namespace rtai::cpu
