#include "runtime/cpu/attention_i8_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<AttentionI8> attention_i8_avx512_vnni{
    "attention_i8_avx512_vnni", Target::avx512_vnni, &attention_i8<VectorDots>};

}  // namespace rtai::cpu
