#include "runtime/cpu/quantize_heads_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<QuantizeHeads> quantize_heads_avx2{"quantize_heads_avx2",
                                                                 Target::avx2, &quantize_heads};

}  // namespace rtai::cpu
