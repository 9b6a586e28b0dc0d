// One function for each operator of libopt/ir/ops.inc, of the same name.
#pragma once

#include "libopt/reference/internal/call.h"

namespace rtai::reference::op {

#define RTAI_OP(name, level, onnx_name, fewest, most, outputs) \
  Result<Tensors> name(const Call& call);
#include "libopt/ir/ops.inc"
#undef RTAI_OP

}  // namespace rtai::reference::op
