#include "runtime/cpu/quantize_rows_ref.h"
#include "runtime/kernels/layer_norm.h"

namespace rtai::cpu {
namespace {

void run(const LayerNorm::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r) {
    const float* src = args.src + r * args.src_stride;
    float* dst = args.dst + r * args.dst_stride;
    float sum = 0;
    for (Index i = 0; i < args.hidden; ++i)
      sum += src[i];
    const float mean = sum / static_cast<float>(args.hidden);
    float squares = 0;
    for (Index i = 0; i < args.hidden; ++i)
      squares += (src[i] - mean) * (src[i] - mean);
    const float variance = squares / static_cast<float>(args.hidden);
    const float inverse = 1.0f / std::sqrt(variance + args.epsilon);
    float absmax = 0;
    for (Index i = 0; i < args.hidden; ++i) {
      dst[i] = (src[i] - mean) * inverse * args.weight[i] + args.bias[i];
      absmax = larger_magnitude(absmax, dst[i]);
    }
    if (args.quantized.data != nullptr) quantize_row(dst, args.hidden, absmax, args.quantized, r);
  }
}

}  // namespace

extern constinit const Kernel<LayerNorm> layer_norm_ref{"layer_norm_ref", Target::ref, &run};

}  // namespace rtai::cpu
