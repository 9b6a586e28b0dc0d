// Graphs of the transformer level as ONNX files that any runtime loads.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/result.h"

#include <cstddef>
#include <string>
#include <vector>

namespace rtai::onnx_io {

struct ExportOptions {
  std::string producer_version = {};
};

/// A serialized model of opset 17, standard operators only; the same graph gives the same bytes.
///
/// Packed rows become a padded batch. Inputs are int64[batch, seq]: input_ids, attention_mask (1
/// for a token, 0 for padding, which stands at the end) and, where the graph reads segments,
/// token_type_ids. Outputs keep their names: [batch, seq, n] for rows of tokens, [batch, n] for
/// rows of sequences; one column cut out of a wider result becomes [batch, seq], as start_logits
/// and end_logits are.
///
/// int8 weights stay int8. A linear with a static scale is QuantizeLinear, DequantizeLinear,
/// MatMul. A dynamic one computes the scale of each row as rtai does (Abs, ReduceMax, Div) and
/// multiplies with MatMulInteger, so that results agree to the last bits; DynamicQuantizeLinear,
/// which has one scale for the whole batch, would not. The only difference: QuantizeLinear
/// saturates at -128, rtai at -127.
///
/// Errors: unsupported for operators below the transformer level and for models above 2 GiB.
Result<std::vector<std::byte>> export_onnx(const ir::Graph& graph,
                                           const ExportOptions& options = {});

}  // namespace rtai::onnx_io
