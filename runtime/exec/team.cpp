#include "runtime/exec/team.h"

#include "runtime/base/usable_cores.h"

#include <immintrin.h>
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <string>
#include <system_error>
#include <utility>

namespace rtai {
namespace {

// A pause is about 40 to 140 cycles. Work of a run is a few microseconds apart, so barriers are met
// while spinning; between requests a member falls asleep after roughly 50 to 100 microseconds.
constexpr int kSpins = 2000;

thread_local bool is_member = false;  // of some team; callers are not

}  // namespace

bool Team::Flag::has_changed(std::uint32_t old) const noexcept {
  for (int i = 0; i < kSpins; ++i) {
    if (value.load(std::memory_order_acquire) != old) return true;
    _mm_pause();
  }
  return false;
}

// notify_all() of libstdc++ asks the system where anyone sleeps on any atomic of a like address, as
// the idle team of another session does: some thirty calls for a run of a small model. Either the
// one who changes the number sees who is about to sleep here, or that one sees the change.
void Team::Flag::await_change(std::uint32_t old) noexcept {
  asleep.fetch_add(1, std::memory_order_seq_cst);
  value.wait(old, std::memory_order_seq_cst);
  asleep.fetch_sub(1, std::memory_order_relaxed);
}

void Team::Flag::change_to(std::uint32_t next) noexcept {
  value.store(next, std::memory_order_seq_cst);
  if (asleep.load(std::memory_order_seq_cst) > 0) value.notify_all();
}

Result<std::unique_ptr<Team>> Team::start(int size) {
  std::unique_ptr<Team> team(new Team(std::max(size, 1)));  // its constructor is private
  int member = 1;
  try {
    for (; member < team->size_; ++member)
      team->threads_.emplace_back([&team = *team, member] { team.serve(member); });
  } catch (const std::system_error&) {
    return Error{ErrorCode::device, "expected " + std::to_string(team->size_) +
                                        " threads, the system gives " + std::to_string(member)};
  }
  team->place_members();
  return team;
}

/// Where cores are left over the system finds one, and other teams may want them too.
void Team::place_members() {
  std::vector<int> cores = allowed_cores();
  if (size_ == 1 || std::ssize(cores) != size_) return;
  free_core_ = cores.front();
  cores_.assign(cores.begin() + 1, cores.end());
  for (std::size_t i = 0; i < cores_.size(); ++i)
    bind_to_core(threads_[i].native_handle(), cores_[i]);
}

/// The caller runs where it likes: a member that has its core takes the one that is free.
void Team::leave_core_to_caller() noexcept {
  const int callers = ::sched_getcpu();
  const auto found = std::ranges::find(cores_, callers);
  if (found == cores_.end()) return;
  *found = std::exchange(free_core_, callers);
  bind_to_core(threads_[static_cast<std::size_t>(found - cores_.begin())].native_handle(), *found);
}

void Team::hold_caller() noexcept {
  if (is_held_ || cores_.empty()) return;
  is_held_ = ::sched_getaffinity(0, sizeof callers_cores_, &callers_cores_) == 0;
  if (is_held_) bind_to_core(::pthread_self(), free_core_);
}

void Team::release_caller() noexcept {
  if (!is_held_) return;
  ::sched_setaffinity(0, sizeof callers_cores_, &callers_cores_);
  is_held_ = false;
}

Team::~Team() {
  stop_.store(true, std::memory_order_relaxed);
  job_.change_to(job_.value.load(std::memory_order_relaxed) + 1);
  for (std::thread& thread : threads_)
    thread.join();
}

void Team::run(Work work, void* data) noexcept {
  if (size_ == 1) return work(data, 0);
  leave_core_to_caller();
  // It will wait for them to wake, fall asleep itself, and be woken by one of them.
  if (job_.asleep.load(std::memory_order_relaxed) > 0) hold_caller();
  work_ = work;
  data_ = data;
  job_.change_to(job_.value.load(std::memory_order_relaxed) + 1);
  work(data, 0);
  barrier();  // the end of the job is a barrier like any other
  release_caller();
}

void Team::serve(int member) noexcept {
  is_member = true;
  std::uint32_t seen = 0;
  while (true) {
    if (!job_.has_changed(seen)) job_.await_change(seen);
    seen = job_.value.load(std::memory_order_acquire);
    if (stop_.load(std::memory_order_relaxed)) return;
    work_(data_, member);
    barrier();
  }
}

void Team::barrier() noexcept {
  if (size_ == 1) return;
  const std::uint32_t phase = phase_.value.load(std::memory_order_acquire);
  const std::uint32_t last = static_cast<std::uint32_t>(size_) - 1;
  if (arrived_.value.fetch_add(1, std::memory_order_acq_rel) == last) {
    arrived_.value.store(0, std::memory_order_relaxed);
    phase_.change_to(phase + 1);
    return;
  }
  if (phase_.has_changed(phase)) return;
  if (!is_member) hold_caller();  // before it sleeps, so that it wakes here
  phase_.await_change(phase);
}

}  // namespace rtai
