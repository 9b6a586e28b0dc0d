#include "runtime/cpu/quantize_heads_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<QuantizeHeads> quantize_heads_avx512_vnni{
    "quantize_heads_avx512_vnni", Target::avx512_vnni, &quantize_heads};

}  // namespace rtai::cpu
