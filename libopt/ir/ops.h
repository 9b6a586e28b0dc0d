// The operators of the transformer level: meaning, shapes, and a typed view of each.
//
// Rows are packed tokens: the sequences of a batch laid end to end, without padding. A graph says
// nothing about where one ends and the next begins; whoever runs it has the offsets.
#pragma once

#include "libopt/ir/graph.h"

#include <array>
#include <string>

namespace rtai::ir {

/// dst[t] = word[ids[t]] + position[offset + p(t)] + segment[segments[t]], absent tables left out;
/// p(t) counts from 0 within the sequence of token t.
///
/// Inputs: ids i32[tokens], segments i32[tokens] or none, word [vocab, hidden], position
/// [positions, hidden] or none, segment [segments, hidden] or none, then a scale f32[rows] for each
/// table that is i8 (real value = integer * scale of its row).
/// Output: f32[tokens, hidden]. Attributes: position_offset (2 for RoBERTa); word_group,
/// position_group, segment_group (0): as weight_group of Linear, of an i8 table.
struct Embedding {
  static constexpr Op kOp = Op::embedding;
  /// The attributes of the tables, in the order of their inputs.
  static constexpr std::array<const char*, 3> kGroups = {"word_group", "position_group",
                                                         "segment_group"};
  enum Input : std::size_t {
    ids,
    segments,
    word,
    position,
    segment,
    word_scale,
    position_scale,
    segment_scale
  };
};

/// dst = src * weight^T + bias
///
/// Inputs: src f32[rows, k], weight f32, bf16 or i8 [n, k], bias f32[n] or none, weight_scale
/// f32[n] when weight is i8, src_factor f32[k] or none. Output: f32[rows, n]. Attribute: src_scale,
/// with i8 weights only: the scale of the quantized source, from calibration; absent or 0: a scale
/// for each row is computed from its largest magnitude (dynamic). The source is multiplied by
/// src_factor, column by column, before it is quantized. Attribute: weight_group (0), with i8
/// weights only: so many consecutive weights of a row are integers in -7..7 times one in 1..18,
/// and are stored so (runtime/engine/packed_weights.h); what is computed is the same.
struct Linear {
  static constexpr Op kOp = Op::linear;
  enum Input : std::size_t { src, weight, bias, weight_scale, src_factor };
};

/// dst[r, i] = (src[r, i] - mean_r) / sqrt(var_r + epsilon) * weight[i] + bias[i]
///
/// Inputs: src f32[rows, hidden], weight f32[hidden], bias f32[hidden]. Attribute: epsilon.
struct LayerNorm {
  static constexpr Op kOp = Op::layer_norm;
  enum Input : std::size_t { src, weight, bias };
};

/// Scaled dot-product attention within each sequence, head by head: the softmax over keys j of
///   (q_i . k_j + q_i . r_key + k_j . r_query) * scale + bias,   times the values
/// where r_key, r_query and bias depend on how far key and query are apart, j - i.
///
/// Inputs: qkv f32[tokens, 3 * heads * head_dim], all of q, then k, then v, each head by head; bias
/// f32[heads, 2 * span - 1] (MPNet), relative_key and relative_query f32[heads * head_dim, 2 * span
/// - 1] (DeBERTa), any of them or none, each read at column span - 1 + j - i. No sequence may be
/// longer than span. Output: f32[tokens, heads * head_dim]. Attributes: heads, head_dim, scale;
/// causal (0): 1 hides later tokens; bits (0): 8 for queries, keys, values and weights as 8-bit
/// integers, computed as runtime/kernels/attention_i8.h says.
struct Attention {
  static constexpr Op kOp = Op::attention;
  enum Input : std::size_t { qkv, bias, relative_key, relative_query };
};

/// Elementwise. Attribute kind: gelu (erf), gelu_tanh, relu, tanh, sigmoid, silu.
struct Activation {
  static constexpr Op kOp = Op::activation;
  enum Input : std::size_t { src };
};

/// first_token: f32[tokens, hidden] -> f32[sequences, hidden], the first row of each sequence.
/// mean_pool:   f32[tokens, hidden] -> f32[sequences, hidden], the mean of the rows of each
/// sequence. l2_normalize: each row divided by max(its euclidean norm, 1e-12). columns: src[:,
/// begin:end]; attributes begin, end. add: two tensors of the same type.

/// One of the kinds an activation can have.
bool is_activation_kind(std::string_view kind);

/// The type of the result of a transformer-level node.
///
/// Errors: internal, saying which input or attribute does not fit.
Result<Type> infer_type(const Graph& graph,
                        Op op,
                        std::span<const ValueId> inputs,
                        const Attributes& attributes);

/// Appends a transformer-level node with its inferred type and returns its result.
///
/// Errors: as infer_type.
Result<ValueId> append(Graph& graph,
                       Op op,
                       std::vector<ValueId> inputs,
                       Attributes attributes = {},
                       std::string name = {});

/// Heads and their size of an attention node.
struct HeadShape {
  Index heads = 0;
  Index head_dim = 0;
};
HeadShape head_shape(const Node& attention);

}  // namespace rtai::ir
