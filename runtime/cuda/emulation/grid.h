// A grid of threads on the host: device code runs here as it is, without a GPU.
//
// Every thread of a block is a fiber. The blocks of a team are resident at the same time, all
// others run one after the other. What a warp does together (shuffles, mma, ldmatrix) happens when
// its last lane arrives. Nothing runs at the same time in truth, so a race does not show by chance;
// it shows as a result that depends on the Schedule, and tests run kernels under several. Shared
// memory ends at an unreadable page and starts out as NaN. Waiting that cannot end, lanes of a warp
// at different instructions, and addresses that the hardware would refuse are faults.
#pragma once

#include "runtime/cuda/launch_shape.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

namespace rtai::cuda::host {

/// In which order ready threads go on, and when an asynchronous copy takes place.
struct Schedule {
  enum class Order { forward, backward, shuffled };
  enum class Copies { at_once, at_wait };
  Order order = Order::forward;
  Copies copies = Copies::at_wait;
};
void set_schedule(const Schedule& schedule);

/// Runs `body` once for every thread of the grid. A grid that was at fault stops early.
void run_grid(const LaunchShape& shape, const std::function<void()>& body);

/// What went wrong since the last call, one line each; empty if nothing did.
std::vector<std::string> take_faults();

// What follows is for device code, and refers to the thread that calls it.

int thread_index();
int block_index();
int grid_blocks();
std::byte* shared_bytes();
void sync_block();
/// Of `threads` of the block that meet at barrier `number`, from 1 on.
void sync_threads(int number, int threads);
/// Lets other threads run: the body of a loop that waits for another block.
void pause();

/// Ends the grid with a fault.
[[noreturn]] void fail(const char* what, std::size_t number = 0);

/// Calls perform(lanes) when all 32 lanes of the warp have come with the same `perform`.
using Perform = void (*)(void* const* lanes);
void together(Perform perform, void* lane);

/// Fails unless [address, address + bytes) is shared memory of the block and `alignment` is met.
void check_shared(const void* address, std::size_t bytes, std::size_t alignment);

void copy_async(void* dst, const void* src, std::size_t bytes, bool valid);
void commit_copies();
void wait_copies(int groups_left);

/// Something that nobody waits for in vain has happened.
void note_event();
/// Does `work` now, or when perform_deferred is called with its key.
void defer(const void* key, std::function<void()> work);
/// False if nothing was deferred.
bool perform_deferred(const void* key);

}  // namespace rtai::cuda::host
