// What this machine is and what it can do at best, measured.
#pragma once

#include "runtime/exec/session.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/timing.h"

namespace rtai::tools {

/// Limits of `threads` cores together, from loops that do nothing else.
struct Peaks {
  double int8_gops = 0;  // multiply-add counts two
  double f32_gflops = 0;
  double read_gb_per_s = 0;  // streaming reads of a set far larger than the caches
};

/// Takes about half a second.
Peaks measure_peaks(int threads);

/// Where a step stands: its operations against the peak of its kind, or its bytes against the
/// bandwidth, whichever is larger. 0 for steps with neither.
double percent_of_peak(const StepProfile& step, const Peaks& peaks);

/// {"cpu", "target", "threads", "gpu"}
Json machine_json(const BenchRun& run, const Workload& workload);

}  // namespace rtai::tools
