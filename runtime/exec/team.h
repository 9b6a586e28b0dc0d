// The threads that run a session: one persistent team, the caller among them.
#pragma once

#include "runtime/base/result.h"

#include <sched.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

namespace rtai {

/// Members wait for work by spinning for a moment, then sleeping: an idle team uses no processor.
///
/// A team as large as the number of cores it may run on keeps its members on different ones, and a
/// caller that may have to sleep on its own until the run ends. Left to the system, whoever is
/// woken can land on the core of who wakes it, where each waits for the other until the system
/// looks again, some milliseconds later.
class Team {
 public:
  /// Starts size - 1 threads.
  /// Errors: device if the system does not give that many.
  static Result<std::unique_ptr<Team>> start(int size);

  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;
  ~Team();

  int size() const { return size_; }

  using Work = void (*)(void* data, int member) noexcept;

  /// Calls work(data, member) for every member, the caller being member 0; returns when all have.
  /// One caller at a time.
  void run(Work work, void* data) noexcept;

  /// Returns when every member has called it. Only from inside the work.
  void barrier() noexcept;

 private:
  /// A number that others wait to change.
  struct alignas(64) Flag {
    std::atomic<std::uint32_t> value{0};
    std::atomic<std::uint32_t> asleep{0};  // who waits and no longer spins

    /// Spins for a moment; false if it still is `old` then.
    bool has_changed(std::uint32_t old) const noexcept;
    /// Sleeps until it is no longer `old`.
    void await_change(std::uint32_t old) noexcept;
    void change_to(std::uint32_t next) noexcept;
  };

  explicit Team(int size) : size_(size) {}

  void serve(int member) noexcept;
  void place_members();
  void leave_core_to_caller() noexcept;
  void hold_caller() noexcept;
  void release_caller() noexcept;

  int size_;
  Work work_ = nullptr;
  void* data_ = nullptr;
  Flag job_;      // number of the current job; members wait for it to change
  Flag arrived_;  // members at the barrier
  Flag phase_;    // number of barriers passed
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
  std::vector<int> cores_;        // of the members from 1 on; empty: the system places them
  int free_core_ = -1;            // the one that is left
  bool is_held_ = false;          // the caller, on the free core, until the run ends
  cpu_set_t callers_cores_ = {};  // where it may run otherwise
};

}  // namespace rtai
