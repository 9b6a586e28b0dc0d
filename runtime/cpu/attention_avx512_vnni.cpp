#include "runtime/cpu/attention_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<Attention> attention_avx512_vnni{"attention_avx512_vnni",
                                                               Target::avx512_vnni, &attention};

}  // namespace rtai::cpu
