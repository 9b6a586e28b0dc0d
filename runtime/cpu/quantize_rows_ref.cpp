#include "runtime/cpu/quantize_rows_ref.h"

namespace rtai::cpu {
namespace {

void run(const QuantizeRows::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    float absmax = 0;
    if (args.absmax != nullptr) {
      absmax = args.absmax[r];
    } else {
      for (Index i = 0; i < args.columns; ++i)
        absmax = larger_magnitude(absmax, src[i]);
    }
    quantize_row(src, args.columns, absmax, args.dst, r);
  }
}

}  // namespace

extern constinit const Kernel<QuantizeRows> quantize_rows_ref{"quantize_rows_ref", Target::ref,
                                                              &run};

}  // namespace rtai::cpu
