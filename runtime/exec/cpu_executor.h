// Runs a plan on the CPU: hands each thread its part of every step.
#pragma once

#include "runtime/exec/plan.h"
#include "runtime/exec/team.h"

#include <array>
#include <span>
#include <vector>

namespace rtai::exec {

/// What the steps of one run read and write beside their weights.
struct RunState {
  const engine::Engine* engine = nullptr;
  const Plan* plan = nullptr;
  const Kernels* kernels = nullptr;
  Target source_target{};  // of linear_i8: says how quantized bytes are stored
  const std::int32_t* ids = nullptr;
  const std::int32_t* segments = nullptr;
  const std::int32_t* positions = nullptr;
  std::span<const std::int32_t> offsets;
  Index tokens = 0;
  Index sequences = 0;
  std::byte* shared = nullptr;
  std::byte* blocks = nullptr;  // block_bytes for each thread
  Index block_bytes = 0;
  std::byte* scratch = nullptr;  // scratch_bytes for each thread
  Index scratch_bytes = 0;
  // Nanoseconds of each step of this run on thread 0; empty: not measured.
  std::span<std::int64_t> step_times;
};

/// Runs every segment of the plan with all members of the team.
void execute(Team& team, RunState& state) noexcept;

/// Bytes of scratch a thread needs for sequences of at most `longest` tokens.
Index scratch_bytes(const engine::Program& program, Index longest);

}  // namespace rtai::exec
