#include "runtime/cpu/linear_i8_vector.h"

namespace rtai::cpu {
namespace {

// On Zen 4 every shape of tile from 4 x 4 up runs at the full rate of the multipliers.
struct Dot : DotBytes {
  static constexpr std::uint8_t kFlip = 0x80;
};

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  LinearTiles<I8Sums<Dot>, LinearI8::Args>(args).run();
}

}  // namespace

extern constinit const Kernel<LinearI8> linear_i8_avx512_vnni{"linear_i8_avx512_vnni",
                                                              Target::avx512_vnni, &run};

}  // namespace rtai::cpu
