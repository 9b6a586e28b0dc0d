#include "runtime/cpu/quantize_rows_avx512.h"

namespace rtai::cpu {
namespace {

void run(const QuantizeRows::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    const float absmax = args.absmax != nullptr        ? args.absmax[r]
                         : args.dst.fixed_scale > 0.0f ? 0.0f
                                                       : row_absmax(src, args.columns);
    quantize_row(src, args.columns, absmax, args.dst, r);
  }
}

}  // namespace

extern constinit const Kernel<QuantizeRows> quantize_rows_avx512_vnni{"quantize_rows_avx512_vnni",
                                                                      Target::avx512_vnni, &run};

}  // namespace rtai::cpu
