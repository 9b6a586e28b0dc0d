#include "runtime/cpu/linear_f32_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<LinearF32> linear_f32_avx512_vnni{"linear_f32_avx512_vnni",
                                                                Target::avx512_vnni, &linear_f32};

}  // namespace rtai::cpu
