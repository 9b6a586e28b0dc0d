// In which order the nodes of a model run.
#pragma once

#include "libopt/ir/graph.h"

#include <onnx/onnx_pb.h>

#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::onnx_io {

/// Values by their names in the file.
using KnownValues = std::map<std::string, ir::ValueId, std::less<>>;

/// The name of a node, or that of its first output.
const std::string& name_of(const onnx::NodeProto& node);

/// "Gelu", or with a domain that is not ONNX's own "com.microsoft.Gelu".
std::string operator_of(const onnx::NodeProto& node);

/// "node 'name' (Operator)"
std::string place_of(const onnx::NodeProto& node);

/// What a node reads: its inputs, and what the graphs within it take from outside.
std::vector<std::string_view> names_read(const onnx::NodeProto& node);

/// An order in which every node comes after those it reads from; that of the file where possible.
///
/// Errors: invalid_input, naming the node, for values made twice or by nobody and for cycles.
Result<std::vector<int>> order_of(const onnx::GraphProto& graph, const KnownValues& known);

}  // namespace rtai::onnx_io
