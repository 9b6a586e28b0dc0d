#include "runtime/cpu/linear_i8_vector.h"

namespace rtai::cpu {
namespace {

struct Dot {
  static constexpr std::uint8_t kFlip = 0x80;
  // 24 accumulators, 4 weight registers, 1 source register. On Zen 4 every shape from 4 x 4 up runs
  // at the full rate of the multipliers (docs/performance.md#gemm).
  static constexpr int kTileRows = 6;
  static constexpr int kTilePanels = 4;

  using Source = __m512i;
  static Source source(const std::uint8_t* four) {
    std::int32_t bytes = 0;
    __builtin_memcpy(&bytes, four, 4);
    return _mm512_set1_epi32(bytes);
  }
  static Ints add(Ints sums, Source source, Ints weights) {
    return {_mm512_dpbusd_epi32(sums.v, source, weights.v)};
  }
};

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  LinearTiles<I8Sums<Dot>, LinearI8::Args>(args).run();
}

}  // namespace

extern constinit const Kernel<LinearI8> linear_i8_avx512_vnni{"linear_i8_avx512_vnni",
                                                              Target::avx512_vnni, &run};

}  // namespace rtai::cpu
