// Instruction-set targets: their names, and which of them this machine can run.
#pragma once

#include "runtime/base/result.h"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace rtai {

/// Best first; a smaller value is a better target.
enum class Target : std::uint8_t {
#define RTAI_TARGET(name, flags, test) name,
#include "runtime/kernels/targets.inc"
#undef RTAI_TARGET
};

std::string_view target_name(Target target);

/// All targets, best first.
std::span<const Target> all_targets();

/// True if processor and operating system can run it.
bool is_available(Target target);

/// Why is_available is what it is: "avx512vnni missing", "ok".
std::string availability_reason(Target target);

/// The best available target; with a name, that one.
///
/// Errors: unsupported when `forced` names no target or one that this machine lacks.
Result<Target> select_target(std::string_view forced = {});

/// "AMD EPYC 9004", as the processor calls itself.
std::string cpu_name();

}  // namespace rtai
