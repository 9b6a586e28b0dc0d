#include "tools/serve/chooser.h"

#include <cmath>

namespace rtai::serve {
namespace {

constexpr double kMemorySeconds = 0.5;  // of the arrival rate
// What waits must be done within this part of the promise: the rest is for the batch that is about
// to begin when a request comes, and for reading and writing.
constexpr double kPromisePart = 0.5;
constexpr double kFullLoad = 0.85;  // of an engine's time: beyond, queues grow without end
constexpr double kRoom = 0.65;      // of an engine's time, to come back to it
constexpr double kCalmSeconds = 1.0;

}  // namespace

void EngineChooser::arrived(Clock::time_point now, std::size_t tokens) {
  recent_tokens_ *= std::exp(-seconds_between(last_arrival_, now) / kMemorySeconds);
  recent_tokens_ += static_cast<double>(tokens);
  last_arrival_ = now;
}

double EngineChooser::arriving_tokens_per_s(Clock::time_point now) const {
  return recent_tokens_ * std::exp(-seconds_between(last_arrival_, now) / kMemorySeconds) /
         kMemorySeconds;
}

bool EngineChooser::is_in_danger(double oldest_s,
                                 std::size_t tokens,
                                 double rate,
                                 const CostModel& cost,
                                 const OtherWork& others) const {
  return oldest_s + others.queued_s + cost.seconds(tokens) > kPromisePart * promise_s_ ||
         others.load + rate * cost.slope() > kFullLoad;
}

std::size_t EngineChooser::choose(Clock::time_point now,
                                  double oldest_s,
                                  std::size_t queued_tokens,
                                  std::span<const CostModel> costs,
                                  const OtherWork& others) {
  if (promise_s_ <= 0) return 0;
  const double rate = arriving_tokens_per_s(now);
  std::vector<bool> danger;
  for (std::size_t i = 0; i < costs.size(); ++i) {
    danger.push_back(is_in_danger(oldest_s, queued_tokens, rate, costs[i], others));
    if (danger[i]) last_danger_[i] = now;
  }
  while (current_ + 1 < costs.size() && danger[current_])
    ++current_;
  for (std::size_t i = 0; i < current_; ++i) {
    const bool calm = seconds_between(last_danger_[i], now) > kCalmSeconds;
    if (calm && others.load + rate * costs[i].slope() < kRoom) current_ = i;
  }
  return current_;
}

}  // namespace rtai::serve
