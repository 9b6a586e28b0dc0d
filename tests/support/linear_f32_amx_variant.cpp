// Compiled with the flags of avx2: the vectors give the same bits as those of the product.
#include "runtime/cpu/linear_f32_amx.h"
#include "tests/support/amx_emulation.h"
#include "tests/support/kernel_variants.h"

namespace rtai::test {
namespace {

void run(const LinearF32::Args& args, ExecContext& context) noexcept {
  if (args.weight_bf16 == nullptr) return cpu::linear_f32(args, context);
  cpu::linear_bf16_amx_tiles<EmulatedTiles>(args, context.scratch);
}

}  // namespace

extern const Kernel<LinearF32> linear_f32_amx_variant{"linear_f32_amx (emulated)", Target::amx,
                                                      &run};

}  // namespace rtai::test
