#include "runtime/cpu/quantize_rows_vector.h"

namespace rtai::cpu {

extern constinit const Kernel<QuantizeRows> quantize_rows_avx512_vnni{
    "quantize_rows_avx512_vnni", Target::avx512_vnni, &quantize_rows};

}  // namespace rtai::cpu
