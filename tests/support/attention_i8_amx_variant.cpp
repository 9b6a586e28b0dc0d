// Compiled with the flags of avx2: the vectors give the same bits as those of the product.
#include "runtime/cpu/attention_i8_amx.h"
#include "tests/support/amx_emulation.h"
#include "tests/support/kernel_variants.h"

namespace rtai::test {

extern const Kernel<AttentionI8> attention_i8_amx_variant{
    "attention_i8_amx (emulated)", Target::amx, &cpu::attention_i8<cpu::TileDots<EmulatedTiles>>};

}  // namespace rtai::test
