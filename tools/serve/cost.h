// How long a batch takes, learned from those that ran.
#pragma once

#include <algorithm>
#include <cstddef>

namespace rtai::serve {

/// seconds = overhead + tokens * slope, by least squares over recent batches: each new one makes
/// those before it count a little less.
class CostModel {
 public:
  void add(std::size_t tokens, double seconds) {
    constexpr double kMemory = 0.98;  // about the last 50 batches
    const auto x = static_cast<double>(tokens);
    weight_ = weight_ * kMemory + 1;
    x_ = x_ * kMemory + x;
    y_ = y_ * kMemory + seconds;
    xx_ = xx_ * kMemory + x * x;
    xy_ = xy_ * kMemory + x * seconds;
  }

  double seconds(std::size_t tokens) const {
    return overhead() + slope() * static_cast<double>(tokens);
  }
  /// Seconds that one token more costs.
  double slope() const {
    if (weight_ <= 0 || x_ <= 0) return 0;
    const double spread = weight_ * xx_ - x_ * x_;
    // Batches of one size say nothing about another one: then all is taken to grow with the tokens.
    if (spread < 1e-2 * x_ * x_) return y_ / x_;
    return std::clamp((weight_ * xy_ - x_ * y_) / spread, 0.0, y_ / x_);
  }
  double overhead() const { return weight_ > 0 ? std::max(0.0, (y_ - slope() * x_) / weight_) : 0; }

 private:
  double weight_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0;
};

}  // namespace rtai::serve
