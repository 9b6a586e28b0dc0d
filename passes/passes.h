// All passes of rtai, by name.
#pragma once

#include "libopt/pass/pass.h"

#include <memory>
#include <span>
#include <string_view>

namespace rtai::passes {

#define RTAI_PASS(name) std::unique_ptr<Pass> make_##name();
#include "passes/passes.inc"
#undef RTAI_PASS

using MakePass = std::unique_ptr<Pass> (*)();

/// From an imported graph to the transformer level (libopt/ir/ops.h), for run_pipeline().
inline constexpr std::string_view kRaisePipeline =
    "fold-constants,widen-floats,drop-identities,trace-types,fuse-layer-norm,fuse-activations,"
    "raise-transformer,name-layers";

/// One factory for each line of passes.inc, in its order.
std::span<const MakePass> all();

/// The pass called `name` (kebab-case), or null.
std::unique_ptr<Pass> make(std::string_view name);

}  // namespace rtai::passes
