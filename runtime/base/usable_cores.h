// How many threads may really run at once, and where.
#pragma once

#include <pthread.h>

#include <vector>

namespace rtai {

/// Numbers of the cores that the calling thread may run on; empty where there are more than a
/// cpu_set_t has.
std::vector<int> allowed_cores();

/// Lets `thread` run on that core alone.
void bind_to_core(pthread_t thread, int core) noexcept;

/// Cores this process may use: its affinity mask, cut by the CPU quota of its control group. At
/// least 1.
int usable_cores();

}  // namespace rtai
