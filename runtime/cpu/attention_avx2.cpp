#include "runtime/cpu/attention_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<Attention> attention_avx2{"attention_avx2", Target::avx2, &attention};

}  // namespace rtai::cpu
