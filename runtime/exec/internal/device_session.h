// A session on a GPU, or on what stands in for one.
#pragma once

#include "runtime/cuda/backend.h"
#include "runtime/exec/internal/session_impl.h"

#include <memory>

namespace rtai::exec {

/// Errors: those of Session::create_on.
Result<std::unique_ptr<Session::Impl>> make_device_session(
    std::unique_ptr<cuda::Backend> backend,
    std::shared_ptr<const engine::Engine> engine,
    const SessionOptions& options);

}  // namespace rtai::exec
