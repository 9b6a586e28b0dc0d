// Attention on integers: how queries, keys and values are quantized, and what is done with them.
#pragma once

#include "runtime/base/checked.h"
#include "runtime/base/function.h"
#include "runtime/kernels/quantize_rows.h"

namespace rtai {

/// Rows cut into heads, each head of each row quantized with a scale of its own, in [-127, 127].
struct QuantizedHeads {
  std::int8_t* data = nullptr;  // [rows, heads, padded_head(head_dim)]
  float* scale = nullptr;       // [rows, heads]: real value = integer * scale
  Index heads = 0;              // of a row
};

/// Bytes of a head: whole groups of 16, zeros at the end.
constexpr Index padded_head(Index head_dim) {
  return round_up<Index>(head_dim, 16);
}

/// dst[r, h, i] = clamp(rint(src[r, h * head_dim + i] * factor_rh), -127, 127), ties to even
///
/// Scale, factor and what is not finite: as in a dynamic QuantizeRows, for each head of each row.
/// Shapes: src [rows, heads * head_dim] with row stride src_stride.
/// Planned: rows, heads, head_dim >= 1; dst.data 64-byte aligned.
/// Tolerance against the reference: none; the same bytes, where they are specified.
struct QuantizeHeads {
  static constexpr std::string_view kName = "quantize_heads";
  struct Args {
    const float* src;
    Index src_stride;
    QuantizedHeads dst;
    Index rows;
    Index head_dim;
  };
};

/// dst[q] = sum_t w[q, t] v[t] / sum_t w[q, t] / sv[t], head by head, where
///   x[q, t] = (q . k[t]) sk[t] * (sq * scale * log2 e) + log2 sv[t]
///   w[q, t] = 255 * 2^(x[q, t] - max_t x[q, t]), an integer in [0, 255] where it multiplies v
///
/// sq, sk, sv are the scales of the quantized query, key and value. Both dot products are exact in
/// int32. A value's scale counts as part of its weight, so that the eight bits of a weight are
/// spent on what a token contributes: tokens that draw attention to nothing, as [SEP] does, have
/// large softmax weights and small values. The divisor is summed in f32 before the weights become
/// integers, so that a weight that rounds to zero is not given to other tokens: those of token
/// 128 m + 32 c + 8 n + 2 l + e with the same c and l are added in ascending order by fused
/// multiply-adds, the sums over l as (0 + 1) + (2 + 3), and those of c one after the other. (That
/// order suits the registers of matrix instructions on GPUs.)
///
/// Shapes: qkv [tokens of the sequence, 3 * heads_in_row] quantized heads, of which a row's first
/// third are queries, then keys, then values; heads [first_head, first_head + heads) of each are
/// used. dst [queries, heads * head_dim] with row stride. first_query is the place of the first
/// query in the sequence; causal hides tokens after the query.
/// If `quantized` is given, dst is null and head_dim a multiple of 16; results are stored there, as
/// QuantizeRows does it at its fixed_scale. Scales and zeros behind the columns are the caller's.
/// Scratch: scratch_bytes. Planned: queries, tokens, heads, head_dim >= 1, tokens < 2^16.
/// Tolerance against the reference: none. Exponential and logarithm are SoftmaxOfI8's, every
/// step is one rounded operation or one fused multiply-add, in the order of
/// attention_i8_ref.cpp. Source: weights by the norm of what they multiply, Kobayashi et al. 2020,
/// arXiv:2004.10102.
struct AttentionI8 {
  static constexpr std::string_view kName = "attention_i8";
  struct Args {
    const std::int8_t* qkv;  // of the sequence's first token
    const float* scale_qkv;
    Index heads_in_row;
    Index first_head;
    float* dst;
    Index dst_stride;
    Index queries;
    Index first_query;
    Index tokens;
    Index heads;
    Index head_dim;
    float scale;
    bool causal;
    QuantizedRows quantized = {};  // of results; data null: floats in dst
  };

  static constexpr Index kTileQueries = 16;

  /// One head's keys and values in panels, three numbers for each token, and for a tile of queries
  /// its bytes, scores, weights and results.
  static constexpr std::size_t scratch_bytes(Index tokens, Index head_dim) {
    const Index padded_tokens = round_up<Index>(tokens, 64);
    const Index head = padded_head(head_dim);
    const Index for_tokens = padded_tokens * (2 * head + 4 * static_cast<Index>(sizeof(float)));
    const Index for_queries =
        kTileQueries * ((padded_tokens + head) * static_cast<Index>(sizeof(float)) + padded_tokens +
                        round_up<Index>(head, 64));
    return static_cast<std::size_t>(round_up<Index>(for_tokens + for_queries, 64));
  }
};

}  // namespace rtai
