// Compiled with the flags of avx2: the vectors give the same bits as those of the product.
#include "runtime/cpu/linear_i8_amx.h"
#include "tests/support/amx_emulation.h"
#include "tests/support/kernel_variants.h"

namespace rtai::test {
namespace {

void run(const LinearI8::Args& args, ExecContext& /*context*/) noexcept {
  cpu::linear_i8_amx_tiles<EmulatedTiles>(args);
}

}  // namespace

extern const Kernel<LinearI8> linear_i8_amx_variant{"linear_i8_amx (emulated)", Target::amx, &run};

}  // namespace rtai::test
