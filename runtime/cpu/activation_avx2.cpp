#include "runtime/cpu/activation_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<Activation> activation_avx2{"activation_avx2", Target::avx2,
                                                          &activation};

}  // namespace rtai::cpu
