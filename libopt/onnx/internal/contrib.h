// Parts of ONNX Runtime's fused operators that their quantized twins share.
#pragma once

#include "libopt/onnx/internal/builder.h"
#include "libopt/onnx/internal/source_node.h"

namespace rtai::onnx_io {

/// What EmbedLayerNormalization reads; kNoValue where it is not given.
struct EmbeddingParts {
  ir::ValueId ids = ir::kNoValue;
  ir::ValueId segments = ir::kNoValue;
  ir::ValueId word = ir::kNoValue;
  ir::ValueId position = ir::kNoValue;
  ir::ValueId segment = ir::kNoValue;
  ir::ValueId weight = ir::kNoValue;
  ir::ValueId bias = ir::kNoValue;
  ir::ValueId mask = ir::kNoValue;
  ir::ValueId position_ids = ir::kNoValue;
};

/// LayerNormalization of the sum of the tables' rows, lengths of the mask, the sum; takes the
/// attributes of the node.
Result<Values> embed(SourceNode& node, Builder& build, const EmbeddingParts& parts);

/// Attention of rows that hold q, k and v side by side; takes the attributes of the node.
Result<Values> attend_to(
    SourceNode& node, Builder& build, ir::ValueId qkv, ir::ValueId mask, ir::ValueId bias);

}  // namespace rtai::onnx_io
