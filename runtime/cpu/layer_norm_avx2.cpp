#include "runtime/cpu/layer_norm_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<LayerNorm> layer_norm_avx2{"layer_norm_avx2", Target::avx2,
                                                         &layer_norm};

}  // namespace rtai::cpu
