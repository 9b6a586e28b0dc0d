// What a pruning pass did, as reports show it.
#pragma once

#include "libopt/pass/pipeline.h"
#include "tools/report/optimization.h"

namespace rtai::tools {

/// Fills in the decisions layer by layer, the candidates on the front, and with `is_time` (costs
/// are milliseconds) the latency that was predicted.
void describe_pruning(const PassRecord& record, bool is_time, OptimizationReport& report);

/// Appends the model that a pass made to the candidates: its predicted cost and the divergence of
/// its outputs, measured.
void describe_candidate(const PassRecord& record,
                        bool is_time,
                        double divergence,
                        OptimizationReport& report);

}  // namespace rtai::tools
