// One row of QuantizeRows in AVX-512, shared by the kernels that quantize.
#pragma once

#include "runtime/cpu/vector_avx512.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai::cpu {
namespace {

inline void quantize_row(
    const float* src, Index columns, float absmax, const QuantizedRows& dst, Index row) {
  float scale = dst.fixed_scale;
  float factor = scale > 0.0f ? 1.0f / scale : 0.0f;
  if (scale <= 0.0f) {
    scale = absmax > 0.0f ? absmax / 127.0f : 1.0f;
    factor = absmax > 0.0f ? 127.0f / absmax : 0.0f;
  }
  dst.scale[row] = scale;
  std::uint8_t* bytes = dst.data + row * dst.stride;
  const __m512 factors = _mm512_set1_ps(factor);
  const __m512 highest = _mm512_set1_ps(127.0f);
  const __m512 lowest = _mm512_set1_ps(-127.0f);
  const __m128i flip = _mm_set1_epi8(static_cast<char>(dst.flip));
  // Lanes beyond the columns load as zero and so store as `flip`, up to the 64-byte boundary.
  for (Index i = 0; i < (columns + 63) / 64 * 64; i += 16) {
    const __mmask16 lanes = i < columns ? first_lanes(columns - i) : static_cast<__mmask16>(0);
    const __m512 scaled = _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, src + i), factors);
    const __m512 bounded = _mm512_min_ps(highest, _mm512_max_ps(lowest, scaled));
    const __m128i integers = _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(bounded));
    _mm_store_si128(reinterpret_cast<__m128i*>(bytes + i), _mm_xor_si128(integers, flip));
  }
}

inline float row_absmax(const float* src, Index columns) {
  __m512 largest = _mm512_setzero_ps();
  for (Index i = 0; i < columns; i += 16) {
    const __m512 values = _mm512_maskz_loadu_ps(first_lanes(columns - i), src + i);
    largest = _mm512_max_ps(largest, _mm512_abs_ps(values));
  }
  return _mm512_reduce_max_ps(largest);
}

}  // namespace
}  // namespace rtai::cpu
