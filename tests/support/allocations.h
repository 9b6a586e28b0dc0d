// Counts allocations of the whole process; linked only into tests that ask for it.
#pragma once

namespace rtai::testing {

/// Calls of operator new since the start.
long allocation_count();

}  // namespace rtai::testing
