// What quantization did, as reports show it.
#pragma once

#include "libopt/ir/graph.h"
#include "libopt/pass/pipeline.h"
#include "tools/report/optimization.h"

namespace rtai::tools {

/// Fills in what the pass measured: each site with its precision in `graph`, its sensitivity and
/// its cost, the most sensitive first; and the same layer by layer.
void describe_quantization(const ir::Graph& graph,
                           const PassRecord& record,
                           OptimizationReport& report);

}  // namespace rtai::tools
