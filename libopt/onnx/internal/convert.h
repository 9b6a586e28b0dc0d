// A parsed model as a graph.
#pragma once

#include "libopt/onnx/internal/tensors.h"

#include <onnx/onnx_pb.h>

#include <vector>

namespace rtai::onnx_io {

/// What is said of a model without a graph.
Error no_graph();

/// The nodes of a graph whose operators rtai lacks, those in branches, too.
std::vector<const onnx::NodeProto*> lacking_nodes(const onnx::GraphProto& graph);

/// Takes the weights out of `model`, which is of no use afterwards.
///
/// Errors: as import_onnx.
Result<ir::Graph> convert(onnx::ModelProto& model, ExternalData& external, Log& log);

}  // namespace rtai::onnx_io
