#include "runtime/cpu/activation_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<Activation> activation_avx512_vnni{"activation_avx512_vnni",
                                                                 Target::avx512_vnni, &activation};

}  // namespace rtai::cpu
