#pragma once

#include "runtime/base/checked.h"
#include "runtime/kernels/kernel.h"

namespace rtai {

/// dst[t] = softmax(q[t] . k^T * scale + b) . v, for the query tokens of one sequence, head by
/// head; relative tables add to the product of query t and key j as ir::Attention says
///
/// Shapes: query [queries, heads * head_dim], key and value [tokens, heads * head_dim] of the whole
/// sequence, dst [queries, heads * head_dim]; all with row strides, so that they may be columns of
/// one qkv matrix. first_query is the place of the first query in the sequence.
/// Softmax is over the tokens of the sequence in f32, from the largest score down; causal hides
/// tokens after the query. bias [heads, 2 * span - 1], relative_key and relative_query
/// [heads * head_dim, 2 * span - 1], each may be null: column span - 1 + key - query, places
/// counted in the sequence. Scratch: scratch_bytes. Planned: queries, tokens, heads, head_dim >= 1;
/// query rows are not dst; with a table tokens <= span. Source: Vaswani et al. 2017,
/// arXiv:1706.03762.
struct Attention {
  static constexpr std::string_view kName = "attention";
  struct Args {
    const float* query;
    const float* key;
    const float* value;
    Index qkv_stride;
    float* dst;
    Index dst_stride;
    Index queries;
    Index first_query;
    Index tokens;
    Index heads;
    Index head_dim;
    float scale;
    bool causal;
    const float* bias = nullptr;
    const float* relative_key = nullptr;
    const float* relative_query = nullptr;
    Index span = 0;
  };

  /// The relative tables of one head with their rows turned round, each of so many floats.
  static constexpr Index table_row(Index tokens) { return 2 * round_up<Index>(tokens, 16) + 16; }

  /// One head's keys in panels of 16 tokens, a block of 16 queries and its scores, relative tables.
  static constexpr std::size_t scratch_bytes(Index tokens, Index head_dim, bool relative = true) {
    const Index padded = round_up<Index>(tokens, 16);
    const Index tables = relative ? (2 * head_dim + 1) * table_row(tokens) : 0;
    return static_cast<std::size_t>(padded * (head_dim + 16) + 16 * head_dim + tables) *
           sizeof(float);
  }
};

}  // namespace rtai
