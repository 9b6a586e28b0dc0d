// Which of several engines of one model answers: the first, unless a promised latency is in danger.
#pragma once

#include "tools/serve/cost.h"
#include "tools/serve/http_message.h"

#include <cstddef>
#include <span>
#include <vector>

namespace rtai::serve {

/// What other models that share the threads want of their time.
struct OtherWork {
  double queued_s = 0;  // to compute what waits
  double load = 0;      // part of the time that what arrives takes
};

/// Engines are numbered from the most accurate to the fastest. The choice steps to a faster one as
/// soon as the work that waits, or the rate at which it arrives, would break the promise; and back
/// when for a while it would not have, with room to spare.
class EngineChooser {
 public:
  /// `promise_s`: 0 for none; then the first engine is always chosen.
  EngineChooser(std::size_t engines, double promise_s)
      : promise_s_(promise_s), last_danger_(engines) {}

  /// Work has come, whether it was accepted or not.
  void arrived(Clock::time_point now, std::size_t tokens);

  /// The engine for a batch that begins now. `oldest_s` is how long the oldest waiting work has
  /// been there, `queued_tokens` all that waits for this model; `costs` are those of the engines.
  std::size_t choose(Clock::time_point now,
                     double oldest_s,
                     std::size_t queued_tokens,
                     std::span<const CostModel> costs,
                     const OtherWork& others = {});

  std::size_t current() const { return current_; }
  double arriving_tokens_per_s(Clock::time_point now) const;

 private:
  bool is_in_danger(double oldest_s,
                    std::size_t tokens,
                    double rate,
                    const CostModel& cost,
                    const OtherWork& others) const;

  double promise_s_;
  std::size_t current_ = 0;
  std::vector<Clock::time_point> last_danger_;  // by engine
  double recent_tokens_ = 0;                    // decayed to last_arrival_
  Clock::time_point last_arrival_{};
};

}  // namespace rtai::serve
