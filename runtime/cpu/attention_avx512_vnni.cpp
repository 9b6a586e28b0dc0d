#include "runtime/cpu/vector_avx512.h"
#include "runtime/kernels/attention.h"

namespace rtai::cpu {
namespace {

constexpr int kBlockQueries = 6;  // scores of 6 queries x 64 tokens: 24 accumulators

/// keys: [tokens/16][head_dim][16], lanes beyond the last token zero.
void pack_keys(const Attention::Args& args, Index column, float* keys) {
  const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i stride =
      _mm512_mullo_epi32(lane, _mm512_set1_epi32(static_cast<int>(args.qkv_stride)));
  for (Index t = 0; t < args.tokens; t += 16) {
    const __mmask16 lanes = first_lanes(args.tokens - t);
    const float* key = args.key + t * args.qkv_stride + column;
    for (Index d = 0; d < args.head_dim; ++d, keys += 16) {
      _mm512_store_ps(keys,
                      _mm512_mask_i32gather_ps(_mm512_setzero_ps(), lanes, stride, key + d, 4));
    }
  }
}

/// scores[r][t] = query_r . key_t * scale for kPanels * 16 tokens.
template <int kRows, int kPanels>
void score_tile(const Attention::Args& args,
                const float* query,
                const float* keys,
                float* scores,
                Index scores_stride) {
  __m512 sums[kRows][kPanels];
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p)
      sums[r][p] = _mm512_setzero_ps();
  }
  for (Index d = 0; d < args.head_dim; ++d) {
    __m512 key[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p)
      key[p] = _mm512_load_ps(keys + (p * args.head_dim + d) * 16);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512 q = _mm512_set1_ps(query[r * args.qkv_stride + d]);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        sums[r][p] = _mm512_fmadd_ps(q, key[p], sums[r][p]);
    }
  }
  const __m512 scale = _mm512_set1_ps(args.scale);
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      _mm512_store_ps(scores + r * scores_stride + 16 * p, _mm512_mul_ps(sums[r][p], scale));
    }
  }
}

/// Softmax numerators in place; returns 1 / their sum.
float exponentiate(float* scores, Index tokens) {
  const __m512 lowest = _mm512_set1_ps(-__builtin_inff());
  __m512 largest = lowest;
  for (Index t = 0; t < tokens; t += 16) {
    const __mmask16 lanes = first_lanes(tokens - t);
    largest = _mm512_max_ps(largest, _mm512_mask_loadu_ps(lowest, lanes, scores + t));
  }
  const __m512 maximum = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
  __m512 sum = _mm512_setzero_ps();
  for (Index t = 0; t < tokens; t += 16) {
    const __mmask16 lanes = first_lanes(tokens - t);
    const __m512 shifted = _mm512_sub_ps(_mm512_loadu_ps(scores + t), maximum);
    const __m512 power = _mm512_maskz_mov_ps(lanes, exp_vector(shifted));
    _mm512_storeu_ps(scores + t, power);
    sum = _mm512_add_ps(sum, power);
  }
  return 1.0f / _mm512_reduce_add_ps(sum);
}

/// dst[r] = (sum over t of scores[r][t] * value[t]) * inverse_sum[r] for kPanels * 16 columns.
template <int kRows, int kPanels>
void context_tile(const Attention::Args& args,
                  const float* scores,
                  Index scores_stride,
                  const float* value,
                  const float* inverse_sum,
                  float* dst,
                  Index columns) {
  __mmask16 lanes[kPanels];
  __m512 sums[kRows][kPanels];
#pragma GCC unroll 4
  for (int p = 0; p < kPanels; ++p) {
    lanes[p] = first_lanes(columns - 16 * p);
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r)
      sums[r][p] = _mm512_setzero_ps();
  }
  for (Index t = 0; t < args.tokens; ++t) {
    __m512 row[kPanels];
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      row[p] = _mm512_maskz_loadu_ps(lanes[p], value + t * args.qkv_stride + 16 * p);
    }
#pragma GCC unroll 6
    for (int r = 0; r < kRows; ++r) {
      const __m512 weight = _mm512_set1_ps(scores[r * scores_stride + t]);
#pragma GCC unroll 4
      for (int p = 0; p < kPanels; ++p)
        sums[r][p] = _mm512_fmadd_ps(weight, row[p], sums[r][p]);
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < kRows; ++r) {
    const __m512 factor = _mm512_set1_ps(inverse_sum[r]);
#pragma GCC unroll 4
    for (int p = 0; p < kPanels; ++p) {
      _mm512_mask_storeu_ps(dst + r * args.dst_stride + 16 * p, lanes[p],
                            _mm512_mul_ps(sums[r][p], factor));
    }
  }
}

template <int kRows>
void attend_block(
    const Attention::Args& args, Index first, Index column, const float* keys, float* scores) {
  const Index padded = (args.tokens + 15) / 16 * 16;
  const float* query = args.query + first * args.qkv_stride + column;
  Index t = 0;
  for (; t + 64 <= padded; t += 64) {
    score_tile<kRows, 4>(args, query, keys + t * args.head_dim, scores + t, padded);
  }
  for (; t < padded; t += 16) {
    score_tile<kRows, 1>(args, query, keys + t * args.head_dim, scores + t, padded);
  }
  float inverse_sum[kRows];
  for (int r = 0; r < kRows; ++r) {
    float* row = scores + r * padded;
    Index visible = args.tokens;
    if (args.causal) {
      visible = args.first_query + first + r + 1;
      for (Index hidden = visible; hidden < args.tokens; ++hidden)
        row[hidden] = -__builtin_inff();
    }
    inverse_sum[r] = exponentiate(row, args.tokens);
  }
  const float* value = args.value + column;
  float* dst = args.dst + first * args.dst_stride + column;
  Index d = 0;
  for (; d + 48 < args.head_dim; d += 64) {
    context_tile<kRows, 4>(args, scores, padded, value + d, inverse_sum, dst + d,
                           args.head_dim - d);
  }
  for (; d + 16 < args.head_dim; d += 32) {
    context_tile<kRows, 2>(args, scores, padded, value + d, inverse_sum, dst + d,
                           args.head_dim - d);
  }
  for (; d < args.head_dim; d += 16) {
    context_tile<kRows, 1>(args, scores, padded, value + d, inverse_sum, dst + d,
                           args.head_dim - d);
  }
}

void run(const Attention::Args& args, ExecContext& context) noexcept {
  auto* keys = reinterpret_cast<float*>(context.scratch);
  float* scores = keys + (args.tokens + 15) / 16 * 16 * args.head_dim;
  for (Index h = 0; h < args.heads; ++h) {
    const Index column = h * args.head_dim;
    pack_keys(args, column, keys);
    Index q = 0;
    for (; q + kBlockQueries <= args.queries; q += kBlockQueries) {
      attend_block<kBlockQueries>(args, q, column, keys, scores);
    }
    for (; q + 2 <= args.queries; q += 2)
      attend_block<2>(args, q, column, keys, scores);
    for (; q < args.queries; ++q)
      attend_block<1>(args, q, column, keys, scores);
  }
}

}  // namespace

extern constinit const Kernel<Attention> attention_avx512_vnni{"attention_avx512_vnni",
                                                               Target::avx512_vnni, &run};

}  // namespace rtai::cpu
