// The outline of a parsed model.
#pragma once

#include "libopt/onnx/outline.h"

#include <onnx/onnx_pb.h>

namespace rtai::onnx_io {

/// `model` still has its weights: convert() takes their dimensions away, too.
Outline outline_of(const onnx::ModelProto& model);

}  // namespace rtai::onnx_io
