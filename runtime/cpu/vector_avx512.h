// Vectors of 16 floats for the AVX-512 kernels. Everything is in an unnamed namespace: each file
// that includes this keeps its own copies, compiled with its own flags.
#pragma once

#include "runtime/base/function.h"

#include <immintrin.h>

namespace rtai::cpu {
namespace {

constexpr float kGeluTable[4][32] = {
#include "runtime/cpu/gelu_table.inc"
};
constexpr float kGeluPiecesPerUnit = 31.5f / 5.0f;

inline __mmask16 first_lanes(long count) {
  return count >= 16 ? static_cast<__mmask16>(0xffff) : static_cast<__mmask16>((1u << count) - 1u);
}

/// exp(x) to 2 ulp for x <= 88; 0 below -104.
inline __m512 exp_vector(__m512 x) {
  const __m512 scaled = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
  const __m512 whole = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  // x - whole * ln 2 in two parts: the first has few bits, so its product is exact.
  __m512 part = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
  part = _mm512_fnmadd_ps(whole, _mm512_set1_ps(-2.12194440e-4f), part);
  // Taylor up to 1/5!, then a sixth term that halves the error on |part| <= ln(2) / 2.
  __m512 sum = _mm512_set1_ps(1.3981999e-3f);
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(8.3334519e-3f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(4.1665796e-2f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.6666665e-1f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(5.0e-1f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.0f));
  sum = _mm512_fmadd_ps(sum, part, _mm512_set1_ps(1.0f));
  return _mm512_scalef_ps(sum, whole);
}

inline __m512 sigmoid_vector(__m512 x) {
  const __m512 one = _mm512_set1_ps(1.0f);
  const __m512 bounded = _mm512_max_ps(x, _mm512_set1_ps(-80.0f));
  return _mm512_div_ps(one,
                       _mm512_add_ps(one, exp_vector(_mm512_sub_ps(_mm512_setzero_ps(), bounded))));
}

inline __m512 tanh_vector(__m512 x) {  // 2 sigmoid(2x) - 1
  const __m512 two = _mm512_set1_ps(2.0f);
  return _mm512_fmsub_ps(two, sigmoid_vector(_mm512_mul_ps(two, x)), _mm512_set1_ps(1.0f));
}

/// max(x, 0) - d(|x|) with d in cubic pieces; error below 2e-6.
inline __m512 gelu_vector(__m512 x) {
  const __m512 magnitude = _mm512_abs_ps(x);
  const __m512 place = _mm512_min_ps(_mm512_mul_ps(magnitude, _mm512_set1_ps(kGeluPiecesPerUnit)),
                                     _mm512_set1_ps(31.49f));
  // Adding 1.5 * 2^23 rounds to an integer that then stands in the low bits.
  const __m512 magic = _mm512_set1_ps(12582912.0f);
  const __m512 rounded = _mm512_add_ps(place, magic);
  const __m512i piece = _mm512_castps_si512(rounded);
  const __m512 u = _mm512_sub_ps(place, _mm512_sub_ps(rounded, magic));
  const auto coefficient = [piece](int power) {
    const float* table = kGeluTable[power];
    return _mm512_permutex2var_ps(_mm512_loadu_ps(table), piece, _mm512_loadu_ps(table + 16));
  };
  __m512 d = _mm512_fmadd_ps(coefficient(3), u, coefficient(2));
  d = _mm512_fmadd_ps(d, u, coefficient(1));
  d = _mm512_fmadd_ps(d, u, coefficient(0));
  return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), d);
}

inline __m512 gelu_tanh_vector(__m512 x) {
  const __m512 cube = _mm512_mul_ps(_mm512_mul_ps(x, x), x);
  const __m512 inner = _mm512_mul_ps(_mm512_fmadd_ps(cube, _mm512_set1_ps(0.044715f), x),
                                     _mm512_set1_ps(0.79788456f));
  // x / 2 * (1 + tanh(y)) = x * sigmoid(2 y)
  return _mm512_mul_ps(x, sigmoid_vector(_mm512_add_ps(inner, inner)));
}

inline __m512 apply_vector(Function function, __m512 x) {
  switch (function) {
    case Function::none:
      return x;
    case Function::gelu:
      return gelu_vector(x);
    case Function::gelu_tanh:
      return gelu_tanh_vector(x);
    case Function::relu:
      return _mm512_max_ps(x, _mm512_setzero_ps());
    case Function::tanh:
      return tanh_vector(x);
    case Function::sigmoid:
      return sigmoid_vector(x);
    case Function::silu:
      return _mm512_mul_ps(x, sigmoid_vector(x));
  }
  return x;
}

}  // namespace
}  // namespace rtai::cpu
