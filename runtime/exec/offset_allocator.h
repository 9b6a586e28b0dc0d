// Memory plans: where in one buffer values lie that are alive at different times.
#pragma once

#include "runtime/base/dtype.h"

#include <algorithm>
#include <vector>

namespace rtai::exec {

/// First fit: every piece at the lowest offset where it overlaps no piece alive at the same time.
class OffsetAllocator {
 public:
  /// Two pieces whose epochs are closer than this may be in use at once.
  explicit OffsetAllocator(int distance) : distance_(distance) {}

  Index place(Index bytes, int first_epoch, int last_epoch) {
    Index offset = 0;
    for (bool moved = true; moved;) {
      moved = false;
      for (const Placed& other : placed_) {
        const bool together = first_epoch < other.last_epoch + distance_ &&
                              other.first_epoch < last_epoch + distance_;
        if (!together || offset >= other.end || offset + bytes <= other.begin) continue;
        offset = other.end;
        moved = true;
      }
    }
    placed_.push_back({offset, offset + bytes, first_epoch, last_epoch});
    total_ = std::max(total_, offset + bytes);
    return offset;
  }
  Index total() const { return total_; }

 private:
  struct Placed {
    Index begin;
    Index end;
    int first_epoch;
    int last_epoch;
  };
  int distance_;
  std::vector<Placed> placed_;
  Index total_ = 0;
};

}  // namespace rtai::exec
