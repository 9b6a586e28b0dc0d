#include "libopt/prune/texts.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace rtai::prune {
namespace {

std::span<const std::int32_t> sequence(const TokenBatch& texts,
                                       const std::vector<std::int32_t>& values,
                                       Index s) {
  const auto begin = static_cast<std::size_t>(texts.offsets[static_cast<std::size_t>(s)]);
  const auto end = static_cast<std::size_t>(texts.offsets[static_cast<std::size_t>(s) + 1]);
  return std::span(values).subspan(begin, end - begin);
}

}  // namespace

std::uint64_t Random::next() {
  // Steele, Lea, Flood 2014: splitmix64.
  std::uint64_t z = (state_ += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

Index Random::below(Index n) {
  return static_cast<Index>(next() % static_cast<std::uint64_t>(n));
}

double Random::unit() {
  return static_cast<double>(next() >> 11) * 0x1p-53;
}

std::set<std::int32_t> special_ids(const TokenBatch& texts) {
  std::map<std::int32_t, Index> first;
  std::map<std::int32_t, Index> last;
  for (Index s = 0; s < texts.sequences(); ++s) {
    const auto ids = sequence(texts, texts.ids, s);
    if (ids.empty()) continue;
    ++first[ids.front()];
    ++last[ids.back()];
  }
  std::set<std::int32_t> special;
  for (const auto& counts : {first, last}) {
    for (const auto& [id, count] : counts) {
      if (2 * count >= texts.sequences()) special.insert(id);
    }
  }
  return special;
}

TokenBatch swap_words(const TokenBatch& texts, int copies, double share, std::uint64_t seed) {
  const std::set<std::int32_t> special = special_ids(texts);
  std::vector<std::int32_t> pool;
  std::ranges::copy_if(texts.ids, std::back_inserter(pool),
                       [&](std::int32_t id) { return !special.contains(id); });
  Random random(seed);
  TokenBatch swapped;
  for (int copy = 0; copy < copies; ++copy) {
    for (Index s = 0; s < texts.sequences(); ++s) {
      const auto ids = sequence(texts, texts.ids, s);
      std::vector<std::int32_t> changed(ids.begin(), ids.end());
      for (std::int32_t& id : changed) {
        if (special.contains(id) || random.unit() >= share) continue;
        id = pool[static_cast<std::size_t>(random.below(std::ssize(pool)))];
      }
      swapped.append(changed, sequence(texts, texts.segments, s));
    }
  }
  return swapped;
}

TokenBatch concat(const TokenBatch& a, const TokenBatch& b) {
  TokenBatch both = a;
  for (Index s = 0; s < b.sequences(); ++s)
    both.append(sequence(b, b.ids, s), sequence(b, b.segments, s));
  return both;
}

TokenBatch shuffled(const TokenBatch& texts, std::uint64_t seed) {
  std::vector<Index> order(static_cast<std::size_t>(texts.sequences()));
  std::iota(order.begin(), order.end(), Index{0});
  Random random(seed);
  for (Index i = std::ssize(order) - 1; i > 0; --i)
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(random.below(i + 1))]);
  TokenBatch result;
  for (const Index s : order)
    result.append(sequence(texts, texts.ids, s), sequence(texts, texts.segments, s));
  return result;
}

TokenBatch first_tokens(const TokenBatch& texts, Index most) {
  Index last = std::min<Index>(1, texts.sequences());
  while (last < texts.sequences() && texts.offsets[static_cast<std::size_t>(last) + 1] <= most)
    ++last;
  return slice(texts, 0, last);
}

std::vector<TokenBatch> cut(const TokenBatch& texts, Index most) {
  std::vector<TokenBatch> pieces;
  for (Index first = 0; first < texts.sequences();) {
    const Index begin = texts.offsets[static_cast<std::size_t>(first)];
    Index last = first + 1;
    while (last < texts.sequences() &&
           texts.offsets[static_cast<std::size_t>(last) + 1] - begin <= most) {
      ++last;
    }
    pieces.push_back(slice(texts, first, last));
    first = last;
  }
  return pieces;
}

}  // namespace rtai::prune
