// A team at work, compiled with the thread sanitizer in every build: it is small, and all else
// rests on it. Exits with 1 if a sum is wrong, and as the sanitizer says if two threads race.
#include "runtime/exec/team.h"

#include <numeric>
#include <vector>

namespace rtai {
namespace {

struct Sums {
  Team* team = nullptr;
  std::vector<long> own = {};   // [member]
  std::vector<long> seen = {};  // [member]: all of `own` after the first barrier
};

void add_up(void* data, int member) noexcept {
  auto& sums = *static_cast<Sums*>(data);
  const auto m = static_cast<std::size_t>(member);
  sums.own[m] += member + 1;
  sums.team->barrier();
  sums.seen[m] = std::accumulate(sums.own.begin(), sums.own.end(), 0L);
  sums.team->barrier();
}

bool is_right(int members, int jobs) {
  const auto team = Team::start(members);
  if (!team) return false;
  const auto count = static_cast<std::size_t>(members);
  Sums sums{.team = team->get(), .own = std::vector<long>(count), .seen = std::vector<long>(count)};
  for (int job = 1; job <= jobs; ++job) {
    (*team)->run(&add_up, &sums);
    const long expected = static_cast<long>(job) * members * (members + 1) / 2;
    for (const long seen : sums.seen)
      if (seen != expected) return false;
  }
  return true;
}

}  // namespace
}  // namespace rtai

int main() {
  for (const int members : {1, 2, 3, 4})
    if (!rtai::is_right(members, 200)) return 1;
  for (int start = 0; start < 50; ++start)  // ended before they have done anything
    if (!rtai::Team::start(3)) return 1;
  return 0;
}
