// What can be known of a value while a model is imported, before anything runs.
#pragma once

#include "libopt/ir/graph.h"

#include <optional>
#include <span>

namespace rtai::onnx_io {

struct Fact {
  DType dtype = DType::f32;
  std::optional<Index> rank;
  std::optional<Index> length;  // of a tensor of rank 1: shapes are computed as such
};

/// An input of a node as `infer` sees it.
struct Operand {
  Fact fact;
  const ir::Tensor* constant = nullptr;
};

/// What is known of output `output` of an operator. Absent inputs have default facts.
Fact infer(ir::Op op,
           std::span<const Operand> inputs,
           const ir::Attributes& attributes,
           std::size_t output);

}  // namespace rtai::onnx_io
