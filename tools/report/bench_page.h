// The results of `rtai bench` as a page.
#pragma once

#include "tools/report/bench.h"

#include <string>

namespace rtai::tools {

std::string bench_html(const BenchReport& report);

}  // namespace rtai::tools
