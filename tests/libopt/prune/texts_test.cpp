#include "libopt/prune/texts.h"

#include <catch2/catch.hpp>

#include <algorithm>

namespace rtai::prune {
namespace {

TokenBatch some_texts() {
  TokenBatch texts;
  for (int s = 0; s < 50; ++s) {
    std::vector<std::int32_t> ids = {101};
    for (int t = 0; t < 10; ++t)
      ids.push_back(1000 + 10 * s + t);
    ids.push_back(102);
    texts.append(ids, std::vector<std::int32_t>(ids.size(), s % 2));
  }
  return texts;
}

TEST_CASE("swapped copies keep lengths, segments and marks, and change about the share asked for") {
  const TokenBatch texts = some_texts();
  const TokenBatch swapped = swap_words(texts, 3, 0.2, 7);
  REQUIRE(swapped.sequences() == 150);
  int changed = 0;
  for (std::size_t i = 0; i < swapped.ids.size(); ++i) {
    const std::size_t j = i % texts.ids.size();
    CHECK(swapped.segments[i] == texts.segments[j]);
    const bool mark = texts.ids[j] < 1000;
    if (mark) CHECK(swapped.ids[i] == texts.ids[j]);
    if (!mark) CHECK(swapped.ids[i] >= 1000);
    changed += swapped.ids[i] != texts.ids[j] ? 1 : 0;
  }
  CHECK(changed > 0.15 * 1500);
  CHECK(changed < 0.25 * 1500);
  CHECK(swapped.ids == swap_words(texts, 3, 0.2, 7).ids);
  CHECK(swapped.ids != swap_words(texts, 3, 0.2, 8).ids);
}

TEST_CASE("ids inside pairs that also end texts are marks, words that happen to end one are not") {
  TokenBatch texts;
  for (int s = 0; s < 4; ++s)
    texts.append(std::vector<std::int32_t>{101, 5, 102, 6 + s, s == 0 ? 9 : 102},
                 std::vector<std::int32_t>(5));
  CHECK(special_ids(texts) == std::set<std::int32_t>{101, 102});
}

TEST_CASE("shuffling keeps every text once") {
  const TokenBatch texts = some_texts();
  const TokenBatch mixed = shuffled(texts, 3);
  CHECK(mixed.offsets == texts.offsets);
  CHECK(mixed.ids != texts.ids);
  std::vector<std::int32_t> a = texts.ids, b = mixed.ids;
  std::ranges::sort(a);
  std::ranges::sort(b);
  CHECK(a == b);
}

TEST_CASE("as many texts are taken as fit, but never none") {
  const TokenBatch texts = some_texts();
  CHECK(first_tokens(texts, 36).sequences() == 3);
  CHECK(first_tokens(texts, 35).sequences() == 2);
  CHECK(first_tokens(texts, 1).sequences() == 1);
  CHECK(first_tokens({}, 10).sequences() == 0);
}

}  // namespace
}  // namespace rtai::prune
