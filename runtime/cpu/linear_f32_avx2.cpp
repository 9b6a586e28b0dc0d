#include "runtime/cpu/linear_f32_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<LinearF32> linear_f32_avx2{"linear_f32_avx2", Target::avx2,
                                                         &linear_f32};

}  // namespace rtai::cpu
