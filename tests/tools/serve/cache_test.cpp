#include "tools/serve/cache.h"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>

using namespace rtai::serve;

namespace {

std::span<const std::byte> bytes(std::string_view text) {
  return std::as_bytes(std::span(text));
}

}  // namespace

TEST_CASE(
    "keys are those of the parts, not of their joined bytes, and differ from process to process") {
  const KeyMaker keys, others;
  CHECK(keys.make({bytes("ab"), bytes("c")}) == keys.make({bytes("ab"), bytes("c")}));
  CHECK(keys.make({bytes("ab"), bytes("c")}) != keys.make({bytes("a"), bytes("bc")}));
  CHECK(keys.make({bytes("ab")}) != keys.make({bytes("ab"), bytes("")}));
  CHECK(keys.make({bytes("ab")}) != others.make({bytes("ab")}));
}

TEST_CASE("a cache keeps what was used last and stays within its bytes") {
  const KeyMaker keys;
  Cache<std::string> cache(1000);
  const auto key = [&](int i) { return keys.make({bytes(std::to_string(i))}); };
  cache.put(key(0), "zero", 100);
  cache.put(key(1), "one", 100);
  for (int i = 2; i < 20; ++i) {
    CHECK(cache.find(key(0)) == "zero");  // in use all the time
    cache.put(key(i), "more", 100);
    CHECK(cache.counts().bytes <= 1000);
  }
  CHECK(cache.find(key(1)) == std::nullopt);
  CHECK(cache.counts().hits == 18);
  CHECK(cache.counts().misses == 1);
  cache.put(key(50), "too large", 2000);
  CHECK(cache.find(key(50)) == std::nullopt);
}

TEST_CASE("a cache of no bytes keeps and counts nothing") {
  const KeyMaker keys;
  Cache<int> cache(0);
  cache.put(keys.make({bytes("a")}), 1, 0);
  CHECK(cache.find(keys.make({bytes("a")})) == std::nullopt);
  CHECK(cache.counts().misses == 0);
}
