#include "runtime/cpu/embedding_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<Embedding> embedding_avx512_vnni{"embedding_avx512_vnni",
                                                               Target::avx512_vnni, &embedding};

}  // namespace rtai::cpu
