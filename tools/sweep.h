// Several workloads from one text: --sweep 'batch=1,8 seq=16..512*2 threads=1,2'.
#pragma once

#include "runtime/base/result.h"
#include "tools/workload.h"

#include <string>
#include <vector>

namespace rtai::tools {

/// Every combination of the values of batch, seq, threads and streams, the last named changing
/// fastest; what is not named stays as in `base`. Values are numbers with commas; a..b*k are a, a
/// k, a k k ... up to b, and a..b+k are a, a + k ... up to b.
///
/// Errors: invalid_input for anything else, saying what was expected; for more than 1000 workloads.
Result<std::vector<Workload>> parse_sweep(const std::string& text, const Workload& base);

}  // namespace rtai::tools
