#include "runtime/cuda/emulation/grid.h"

#include "runtime/cuda/emulation/address_sanitizer.h"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <utility>

// Saves what a function call must keep and goes on where `load` was saved.
extern "C" void rtai_switch_fiber(void** save, void* load);
asm(R"(
.text
.globl rtai_switch_fiber
.type rtai_switch_fiber, @function
rtai_switch_fiber:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size rtai_switch_fiber, .-rtai_switch_fiber
)");

namespace rtai::cuda::host {
namespace {

constexpr std::size_t kStackBytes = 64 * 1024;
constexpr std::size_t kPageBytes = 4096;
constexpr int kWarp = 32;
constexpr std::size_t kBarriers = 16;  // of a block

/// Memory that ends at a page nobody may touch.
class GuardedPages {
 public:
  explicit GuardedPages(std::size_t bytes)
      : usable_((bytes + kPageBytes - 1) / kPageBytes * kPageBytes),
        base_(static_cast<std::byte*>(::mmap(nullptr,
                                             usable_ + 2 * kPageBytes,
                                             PROT_READ | PROT_WRITE,
                                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                                             -1,
                                             0))) {
    ::mprotect(base_, kPageBytes, PROT_NONE);
    ::mprotect(base_ + kPageBytes + usable_, kPageBytes, PROT_NONE);
  }
  GuardedPages(const GuardedPages&) = delete;
  GuardedPages& operator=(const GuardedPages&) = delete;
  ~GuardedPages() {
    forget_frames(bounds());  // or they would be found in whatever is mapped here next
    ::munmap(base_, usable_ + 2 * kPageBytes);
  }

  std::byte* end() const { return base_ + kPageBytes + usable_; }
  StackBounds bounds() const { return {base_ + kPageBytes, usable_}; }

 private:
  std::size_t usable_;
  std::byte* base_;
};

/// Where a thread of the host or of the grid goes on.
struct Fiber {
  void* stack_pointer = nullptr;
  StackBounds stack;
  void* frames = nullptr;  // what AddressSanitizer keeps
};

enum class Leaving { for_now, for_good };

/// Goes on at `to`, until somebody goes on at `from`.
void switch_fiber(Fiber& from, const Fiber& to, Leaving leaving = Leaving::for_now) {
  before_switch(leaving == Leaving::for_good ? nullptr : &from.frames, to.stack);
  rtai_switch_fiber(&from.stack_pointer, to.stack_pointer);
  after_switch(from.frames);
}

enum class State : std::uint8_t { ready, at_warp, at_block, done };

struct Copy {
  void* dst;
  const void* src;
  std::size_t bytes;
  bool valid;
  int group;
};

struct Warp {
  Perform perform = nullptr;
  void* lanes[kWarp] = {};
  int arrived = 0;
};

/// Where some threads of a block meet.
struct Meeting {
  int arrived = 0;
  int times = 0;  // that all had come
};

struct Block;

struct Thread {
  Block* block = nullptr;
  Warp* warp = nullptr;
  int index = 0;
  State state = State::done;
  Fiber fiber;
  std::unique_ptr<GuardedPages> stack;
  std::vector<Copy> copies;
  int group = 0;  // of copies, that is open
};

struct Block {
  int index = 0;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  int at_barrier = 0;
  std::array<Meeting, kBarriers> meetings;
  int running = 0;
  std::size_t shared_bytes = 0;
  std::unique_ptr<GuardedPages> shared;
  std::byte* shared_begin = nullptr;
  std::vector<std::pair<const void*, std::function<void()>>> deferred;
};

struct Grid {
  Grid(const LaunchShape& wanted, const std::function<void()>& each) : shape(wanted), body(&each) {}

  LaunchShape shape;
  const std::function<void()>* body;
  std::vector<Block*> resident;
  Thread* current = nullptr;
  Fiber scheduler;
  std::string fault;
  std::int64_t events = 0;  // anything but waiting
};

// The emulation serves tests, one grid at a time; device code has no place for a context.
Grid* grid = nullptr;                 // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
Schedule schedule;                    // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
std::vector<std::string> all_faults;  // NOLINT(cppcoreguidelines-avoid-non-const-global-variables)
// Blocks keep their stacks from grid to grid.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::vector<std::unique_ptr<Block>> blocks;

void leave(State state) {
  Thread& self = *grid->current;
  self.state = state;
  switch_fiber(self.fiber, grid->scheduler,
               state == State::done ? Leaving::for_good : Leaving::for_now);
}

void release_block_if_all_wait(Block& block) {
  if (block.running == 0 || block.at_barrier < block.running) return;
  block.at_barrier = 0;
  for (Thread& thread : block.threads) {
    if (thread.state == State::at_block) thread.state = State::ready;
  }
  ++grid->events;
}

void fiber_main() {
  grid->scheduler.stack = after_switch(nullptr);
  (*grid->body)();
  Block& block = *grid->current->block;
  --block.running;
  ++grid->events;
  release_block_if_all_wait(block);
  leave(State::done);
}

void start(Thread& thread) {
  if (!thread.stack) thread.stack = std::make_unique<GuardedPages>(kStackBytes);
  // As if fiber_main had been called: the stack is 8 off a multiple of 16 at its first instruction.
  auto* top = reinterpret_cast<void**>(thread.stack->end()) - 2;
  *top = reinterpret_cast<void*>(&fiber_main);
  std::fill(top - 6, top, nullptr);
  thread.fiber = {.stack_pointer = top - 6, .stack = thread.stack->bounds()};
  forget_frames(thread.fiber.stack);
  thread.copies.clear();
  thread.group = 0;
  thread.state = State::ready;
}

void start(Block& block, int index, const LaunchShape& shape) {
  block.index = index;
  const auto threads = static_cast<std::size_t>(shape.threads);
  block.threads.resize(threads);
  block.warps.assign(threads / kWarp, Warp{});
  block.at_barrier = 0;
  block.meetings = {};
  block.running = shape.threads;
  block.deferred.clear();
  if (!block.shared || block.shared_bytes != shape.shared_bytes)
    block.shared = std::make_unique<GuardedPages>(shape.shared_bytes);
  block.shared_bytes = shape.shared_bytes;
  block.shared_begin = block.shared->end() - (shape.shared_bytes + 15) / 16 * 16;
  std::memset(block.shared_begin, 0xff, shape.shared_bytes);
  for (std::size_t i = 0; i < threads; ++i) {
    Thread& thread = block.threads[i];
    thread.block = &block;
    thread.warp = &block.warps[i / kWarp];
    thread.index = static_cast<int>(i);
    start(thread);
  }
}

void resume(Thread& thread) {
  grid->current = &thread;
  switch_fiber(grid->scheduler, thread.fiber);
  grid->current = nullptr;
}

/// Where a thread stands, for the message of a fault.
std::string describe(const Thread& thread) {
  return "block " + std::to_string(thread.block->index) + " thread " + std::to_string(thread.index);
}

/// Runs every ready thread of `block` until it waits.
void run_ready_threads(Block& block, std::mt19937& random) {
  std::vector<std::size_t> order(block.threads.size());
  for (std::size_t i = 0; i < order.size(); ++i)
    order[i] = i;
  if (schedule.order == Schedule::Order::backward) std::reverse(order.begin(), order.end());
  if (schedule.order == Schedule::Order::shuffled) std::shuffle(order.begin(), order.end(), random);
  for (const std::size_t i : order) {
    if (block.threads[i].state == State::ready) resume(block.threads[i]);
    if (!grid->fault.empty()) return;
  }
}

}  // namespace

void set_schedule(const Schedule& wanted) {
  schedule = wanted;
}

std::vector<std::string> take_faults() {
  return std::exchange(all_faults, {});
}

void run_grid(const LaunchShape& shape, const std::function<void()>& body) {
  // Passes over all threads without anything done: far more than a wait for another block takes.
  constexpr int kPatience = 100;
  Grid mine(shape, body);
  grid = &mine;
  if (shape.threads < kWarp || shape.threads % kWarp != 0)
    mine.fault = std::to_string(shape.threads) + " threads a block: expected a multiple of 32";
  std::mt19937 random(1);
  int next = 0;
  for (; next < std::min(shape.blocks, shape.team); ++next) {
    if (blocks.size() == static_cast<std::size_t>(next))
      blocks.push_back(std::make_unique<Block>());
    mine.resident.push_back(blocks[static_cast<std::size_t>(next)].get());
    start(*mine.resident.back(), next, shape);
  }
  int idle = 0;
  for (bool busy = mine.fault.empty(); busy && mine.fault.empty();) {
    const std::int64_t events = mine.events;
    busy = false;
    for (Block* block : mine.resident) {
      run_ready_threads(*block, random);
      if (block->running == 0 && next < shape.blocks) start(*block, next++, shape);
      busy = busy || block->running > 0;
    }
    idle = mine.events == events ? idle + 1 : 0;
    if (busy && idle > kPatience && mine.fault.empty()) {
      mine.fault = "threads wait for what does not come";
      for (const Block* block : mine.resident) {
        for (const Thread& thread : block->threads) {
          if (thread.state != State::done) {
            mine.fault += ": " + describe(thread);
            break;
          }
        }
      }
    }
  }
  if (!mine.fault.empty()) all_faults.push_back(mine.fault);
  grid = nullptr;
}

int thread_index() {
  return grid->current->index;
}
int block_index() {
  return grid->current->block->index;
}
int grid_blocks() {
  return grid->shape.blocks;
}
std::byte* shared_bytes() {
  return grid->current->block->shared_begin;
}

void sync_block() {
  Block& block = *grid->current->block;
  ++block.at_barrier;
  if (block.at_barrier < block.running) return leave(State::at_block);
  release_block_if_all_wait(block);
}

void sync_threads(int number, int threads) {
  Meeting& meeting = grid->current->block->meetings[static_cast<std::size_t>(number)];
  const int before = meeting.times;
  if (++meeting.arrived == threads) {
    meeting = {0, before + 1};
    ++grid->events;
  }
  while (meeting.times == before)
    pause();
}

void pause() {
  leave(State::ready);
}

void fail(const char* what, std::size_t number) {
  // All is destroyed before the fiber leaves: nobody comes back to it.
  grid->fault = describe(*grid->current) + ": " + what;
  if (number > 0) grid->fault += " " + std::to_string(number);
  leave(State::done);
  __builtin_unreachable();  // the grid has ended
}

void together(Perform perform, void* lane) {
  Thread& self = *grid->current;
  Warp& warp = *self.warp;
  if (warp.arrived > 0 && warp.perform != perform)
    fail("lanes of a warp are at different instructions");
  warp.perform = perform;
  warp.lanes[self.index % kWarp] = lane;
  if (++warp.arrived < kWarp) return leave(State::at_warp);
  perform(warp.lanes);
  warp.arrived = 0;
  ++grid->events;
  const auto first = static_cast<std::size_t>(self.index / kWarp * kWarp);
  for (std::size_t i = first; i < first + kWarp; ++i) {
    Thread& other = self.block->threads[i];
    if (other.state == State::at_warp) other.state = State::ready;
  }
}

void check_shared(const void* address, std::size_t bytes, std::size_t alignment) {
  const auto* begin = static_cast<const std::byte*>(address);
  const std::byte* shared = shared_bytes();
  if (begin < shared || begin + bytes > shared + grid->shape.shared_bytes)
    fail("an address outside the block's shared memory");
  if (reinterpret_cast<std::uintptr_t>(address) % alignment != 0)
    fail("an address that is no multiple of", alignment);
}

namespace {

void perform(const Copy& copy) {
  if (copy.valid)
    std::memcpy(copy.dst, copy.src, copy.bytes);
  else
    std::memset(copy.dst, 0, copy.bytes);
}

}  // namespace

void copy_async(void* dst, const void* src, std::size_t bytes, bool valid) {
  check_shared(dst, bytes, bytes);
  if (valid && reinterpret_cast<std::uintptr_t>(src) % bytes != 0)
    fail("an asynchronous copy from an address that is no multiple of its size");
  Thread& self = *grid->current;
  const Copy copy{dst, src, bytes, valid, self.group};
  if (schedule.copies == Schedule::Copies::at_once) return perform(copy);
  self.copies.push_back(copy);
}

void commit_copies() {
  ++grid->current->group;
}

void wait_copies(int groups_left) {
  Thread& self = *grid->current;
  const int last = self.group - groups_left;
  std::erase_if(self.copies, [&](const Copy& copy) {
    if (copy.group >= last) return false;
    perform(copy);
    return true;
  });
}

void note_event() {
  ++grid->events;
}

void defer(const void* key, std::function<void()> work) {
  if (schedule.copies == Schedule::Copies::at_once) return work();
  grid->current->block->deferred.emplace_back(key, std::move(work));
}

bool perform_deferred(const void* key) {
  auto& deferred = grid->current->block->deferred;
  const auto found = std::find_if(deferred.begin(), deferred.end(),
                                  [&](const auto& one) { return one.first == key; });
  if (found == deferred.end()) return false;
  const std::function<void()> work = std::move(found->second);
  deferred.erase(found);
  work();
  ++grid->events;
  return true;
}

}  // namespace rtai::cuda::host
