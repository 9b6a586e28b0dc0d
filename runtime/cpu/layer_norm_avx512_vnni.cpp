#include "runtime/cpu/layer_norm_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<LayerNorm> layer_norm_avx512_vnni{"layer_norm_avx512_vnni",
                                                                Target::avx512_vnni, &layer_norm};

}  // namespace rtai::cpu
