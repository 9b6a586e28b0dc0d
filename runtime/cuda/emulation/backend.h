// A Backend that runs everything in the emulation.
#pragma once

#include "runtime/cuda/backend.h"

#include <memory>

namespace rtai::cuda::host {

/// A device with `multiprocessors` that can do what a capability of 8.0 can. Faults of a grid are
/// errors of Backend::run.
std::unique_ptr<Backend> make_backend(int multiprocessors);

}  // namespace rtai::cuda::host
