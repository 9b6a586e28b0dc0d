// Counts allocations of the whole process and can refuse one; linked only into tests that ask for
// it.
#pragma once

namespace rtai::testing {

/// Calls of operator new since the start.
long allocation_count();

/// Of them, those whose memory was not given back yet.
long live_allocations();

/// Lets the n-th call of operator new from now on throw std::bad_alloc; 0: none.
void fail_allocation(long n);

/// Whether the call that fail_allocation() named has come.
bool fail_allocation_came();

}  // namespace rtai::testing
