// Graphs of the transformer level as ONNX files that any runtime loads.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/result.h"

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace rtai::onnx_io {

/// What shares one scale when a dynamic int8 linear quantizes its source.
enum class DynamicScale : std::uint8_t {
  row,  // each row, as rtai does: the same answers to the last bits, but ONNX Runtime is slow at it
  batch,  // all rows, with a zero point: what ONNX Runtime is fast at; answers move a little
};

struct ExportOptions {
  std::string producer_version = {};
  DynamicScale dynamic_scale = DynamicScale::row;
  /// How the model was made. Import finds them again in the metadata of the graph, with "rtai." in
  /// front of their names.
  std::map<std::string, std::string> facts = {};
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
/// MatMul, which saturates at -128 where rtai does at -127. A dynamic one is Abs, ReduceMax, Div,
/// Round, MatMulInteger, or DynamicQuantizeLinear, MatMulInteger, as the options say. Attention in
/// int8 is the same steps in floats where a scale belongs to a row, else attention in floats.
///
/// Errors: unsupported for operators below the transformer level and for models above 2 GiB.
Result<std::vector<std::byte>> export_onnx(const ir::Graph& graph,
                                           const ExportOptions& options = {});

}  // namespace rtai::onnx_io
