// Attention as the plain operators that exporters write, for operators that hold all of it.
#pragma once

#include "libopt/onnx/internal/builder.h"
#include "libopt/onnx/internal/source_node.h"

#include <optional>

namespace rtai::onnx_io {

/// softmax(q k^T * scale + bias) v, head by head.
struct AttentionParts {
  ir::ValueId q;                    // [batch, heads, seq, head_dim]
  ir::ValueId k;                    // [batch, heads, keys, head_dim]
  ir::ValueId v;                    // [batch, heads, keys, head_dim of v]
  std::optional<float> scale = {};  // absent: 1 / sqrt(head_dim)
  ir::ValueId bias = ir::kNoValue;  // broadcasts to [batch, heads, seq, keys]
  float softcap = 0;                // scores become softcap * tanh(scores / softcap), unless 0
  bool causal = false;              // hides keys after the query
  ir::ValueId past = ir::kNoValue;  // how many keys stand before the first query, for `causal`
  float hidden_score = 0;           // what `causal` adds
  bool zero_if_all_hidden = false;  // a query without keys gives 0 where softmax gives NaN
};

/// [batch, seq, heads * head_dim] -> [batch, heads, seq, head_dim]
Result<ir::ValueId> split_heads(Builder& build, ir::ValueId rows, Index heads);
/// And back.
Result<ir::ValueId> merge_heads(Builder& build, ir::ValueId heads);

struct Attended {
  ir::ValueId context;  // [batch, heads, seq, head_dim of v]
  // On the way there: [batch, heads, seq, keys]
  ir::ValueId product;  // of queries and keys, scaled
  ir::ValueId capped;
  ir::ValueId biased;
  ir::ValueId weights;
};
Result<Attended> attend(Builder& build, const AttentionParts& parts);

/// 0 where `keep` is true, `hidden` elsewhere, of element type `dtype`.
Result<ir::ValueId> mask_bias(Builder& build, ir::ValueId keep, float hidden, DType dtype);

/// The size of one axis: an i64 scalar
Result<ir::ValueId> axis_size(Builder& build, ir::ValueId src, Index axis);

/// The rule of ONNX's own Attention.
Result<Values> attention_of_onnx(SourceNode& node, Builder& build);

}  // namespace rtai::onnx_io
