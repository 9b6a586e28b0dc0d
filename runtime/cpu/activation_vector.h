// Activation in vectors.
#pragma once

#include "runtime/cpu/vector_functions.h"
#include "runtime/kernels/rowwise.h"

namespace rtai::cpu {
namespace {

void activation(const Activation::Args& args, ExecContext& /*context*/) noexcept {
  for_vectors(args.elements, [&](Index i, auto lanes) {
    store(args.dst + i, apply_vector(args.function, load(args.src + i, lanes)), lanes);
  });
}

}  // namespace
}  // namespace rtai::cpu
