#include "runtime/kernels/attention.h"

#include <algorithm>
#include <cmath>

namespace rtai::cpu {
namespace {

void run(const Attention::Args& args, ExecContext& context) noexcept {
  auto* scores = reinterpret_cast<float*>(context.scratch);
  for (Index q = 0; q < args.queries; ++q) {
    const Index visible =
        args.causal ? std::min(args.tokens, args.first_query + q + 1) : args.tokens;
    for (Index h = 0; h < args.heads; ++h) {
      const Index column = h * args.head_dim;
      const float* query = args.query + q * args.qkv_stride + column;
      float largest = -INFINITY;
      for (Index t = 0; t < visible; ++t) {
        const float* key = args.key + t * args.qkv_stride + column;
        float dot = 0;
        for (Index d = 0; d < args.head_dim; ++d)
          dot += query[d] * key[d];
        const Index at = args.span - 1 + t - args.first_query - q;
        const Index distances = 2 * args.span - 1;
        for (Index d = 0; args.relative_key != nullptr && d < args.head_dim; ++d)
          dot += query[d] * args.relative_key[(column + d) * distances + at];
        for (Index d = 0; args.relative_query != nullptr && d < args.head_dim; ++d)
          dot += key[d] * args.relative_query[(column + d) * distances + at];
        scores[t] = dot * args.scale;
        if (args.bias != nullptr) scores[t] += args.bias[h * distances + at];
        largest = std::max(largest, scores[t]);
      }
      float sum = 0;
      for (Index t = 0; t < visible; ++t) {
        scores[t] = std::exp(scores[t] - largest);
        sum += scores[t];
      }
      float* dst = args.dst + q * args.dst_stride + column;
      for (Index d = 0; d < args.head_dim; ++d) {
        float dot = 0;
        for (Index t = 0; t < visible; ++t) {
          dot += scores[t] * args.value[t * args.qkv_stride + column + d];
        }
        dst[d] = dot / sum;
      }
    }
  }
}

}  // namespace

extern constinit const Kernel<Attention> attention_ref{"attention_ref", Target::ref, &run};

}  // namespace rtai::cpu
