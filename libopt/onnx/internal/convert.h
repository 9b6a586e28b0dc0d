// A parsed model as a graph.
#pragma once

#include "libopt/onnx/internal/tensors.h"

#include <onnx/onnx_pb.h>

namespace rtai::onnx_io {

/// Takes the weights out of `model`, which is of no use afterwards.
///
/// Errors: as import_onnx.
Result<ir::Graph> convert(onnx::ModelProto& model, ExternalData& external, Log& log);

}  // namespace rtai::onnx_io
