#include "runtime/cpu/quantize_rows_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<QuantizeRows> quantize_rows_avx2{"quantize_rows_avx2", Target::avx2,
                                                               &quantize_rows};

}  // namespace rtai::cpu
