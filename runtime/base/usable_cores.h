// How many threads may really run at once.
#pragma once

namespace rtai {

/// Cores this process may use: its affinity mask, cut by the CPU quota of its control group. At
/// least 1.
int usable_cores();

}  // namespace rtai
