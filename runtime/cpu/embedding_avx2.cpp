#include "runtime/cpu/embedding_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<Embedding> embedding_avx2{"embedding_avx2", Target::avx2, &embedding};

}  // namespace rtai::cpu
