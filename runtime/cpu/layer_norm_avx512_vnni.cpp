#include "runtime/cpu/quantize_rows_avx512.h"
#include "runtime/kernels/layer_norm.h"

namespace rtai::cpu {
namespace {

void normalize_row(const LayerNorm::Args& args, Index row) {
  const float* src = args.src + row * args.src_stride;
  float* dst = args.dst + row * args.dst_stride;
  const Index hidden = args.hidden;
  const float inverse_hidden = 1.0f / static_cast<float>(hidden);

  __m512 sum = _mm512_setzero_ps();
  for (Index i = 0; i < hidden; i += 16) {
    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(first_lanes(hidden - i), src + i));
  }
  const __m512 mean = _mm512_set1_ps(_mm512_reduce_add_ps(sum) * inverse_hidden);
  __m512 squares = _mm512_setzero_ps();
  for (Index i = 0; i < hidden; i += 16) {
    const __mmask16 lanes = first_lanes(hidden - i);
    const __m512 centred = _mm512_maskz_sub_ps(lanes, _mm512_maskz_loadu_ps(lanes, src + i), mean);
    squares = _mm512_fmadd_ps(centred, centred, squares);
  }
  const float variance = _mm512_reduce_add_ps(squares) * inverse_hidden;
  const __m512 inverse = _mm512_set1_ps(1.0f / __builtin_sqrtf(variance + args.epsilon));

  __m512 largest = _mm512_setzero_ps();
  for (Index i = 0; i < hidden; i += 16) {
    const __mmask16 lanes = first_lanes(hidden - i);
    const __m512 centred = _mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, src + i), mean);
    const __m512 weight = _mm512_maskz_loadu_ps(lanes, args.weight + i);
    const __m512 bias = _mm512_maskz_loadu_ps(lanes, args.bias + i);
    const __m512 value = _mm512_fmadd_ps(_mm512_mul_ps(centred, inverse), weight, bias);
    _mm512_mask_storeu_ps(dst + i, lanes, value);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(_mm512_maskz_mov_ps(lanes, value)));
  }
  if (args.quantized.data == nullptr) return;
  quantize_row(dst, hidden, _mm512_reduce_max_ps(largest), args.quantized, row);
}

void run(const LayerNorm::Args& args, ExecContext& /*context*/) noexcept {
  for (Index r = 0; r < args.rows; ++r)
    normalize_row(args, r);
}

}  // namespace

extern constinit const Kernel<LayerNorm> layer_norm_avx512_vnni{"layer_norm_avx512_vnni",
                                                                Target::avx512_vnni, &run};

}  // namespace rtai::cpu
