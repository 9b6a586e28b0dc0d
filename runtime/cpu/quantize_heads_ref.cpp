#include "runtime/cpu/quantize_rows_ref.h"
#include "runtime/kernels/attention_i8.h"

namespace rtai::cpu {
namespace {

void run(const QuantizeHeads::Args& args, ExecContext& /*context*/) noexcept {
  const Index bytes = padded_head(args.head_dim);
  for (Index r = 0; r < args.rows; ++r) {
    for (Index h = 0; h < args.dst.heads; ++h) {
      const float* src = args.src + r * args.src_stride + h * args.head_dim;
      float absmax = 0;
      for (Index i = 0; i < args.head_dim; ++i)
        absmax = larger_magnitude(absmax, src[i]);
      const Index head = r * args.dst.heads + h;
      std::int8_t* dst = args.dst.data + head * bytes;
      const Quantization quantization = dynamic_quantization(absmax);
      args.dst.scale[head] = quantization.scale;
      for (Index i = 0; i < bytes; ++i)
        dst[i] = i < args.head_dim ? to_integer(src[i] * quantization.factor) : std::int8_t{0};
    }
  }
}

}  // namespace

extern constinit const Kernel<QuantizeHeads> quantize_heads_ref{"quantize_heads_ref", Target::ref,
                                                                &run};

}  // namespace rtai::cpu
