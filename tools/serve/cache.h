// A cache bounded in bytes whose keys are salted digests: what was asked cannot be read from it.
#pragma once

#include "runtime/base/digest.h"

#include <array>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <list>
#include <mutex>
#include <optional>
#include <random>
#include <span>
#include <unordered_map>

namespace rtai::serve {

/// The first half of a SHA-256 over a random salt and the exact input.
using CacheKey = std::array<std::uint64_t, 2>;

/// Makes keys; its salt is drawn when it is made and never leaves the process.
class KeyMaker {
 public:
  KeyMaker() {
    std::random_device random;
    for (std::uint32_t& word : salt_)
      word = random();
  }

  /// Each part counts with its length, so that no two lists of parts read the same.
  CacheKey make(std::initializer_list<std::span<const std::byte>> parts) const {
    Sha256 digest;
    digest.update(std::as_bytes(std::span(salt_)));
    for (const std::span<const std::byte> part : parts) {
      const std::uint64_t size = part.size();
      digest.update(std::as_bytes(std::span(&size, 1)));
      digest.update(part);
    }
    const Sha256Digest bytes = digest.finish();
    CacheKey key;
    std::memcpy(key.data(), bytes.data(), sizeof key);
    return key;
  }

 private:
  std::array<std::uint32_t, 8> salt_{};
};

struct CacheCounts {
  std::uint64_t hits = 0;
  std::uint64_t misses = 0;
  std::uint64_t entries = 0;
  std::uint64_t bytes = 0;
};

/// The entry that was not used for the longest time goes first. Any number of threads.
template <class Value>
class Cache {
 public:
  /// 0 bytes: nothing is kept and nothing counted.
  explicit Cache(std::uint64_t most_bytes) : most_bytes_(most_bytes) {}

  bool is_on() const { return most_bytes_ > 0; }

  std::optional<Value> find(const CacheKey& key) {
    if (!is_on()) return std::nullopt;
    const std::lock_guard lock(mutex_);
    const auto found = places_.find(key);
    if (found == places_.end()) {
      ++counts_.misses;
      return std::nullopt;
    }
    ++counts_.hits;
    entries_.splice(entries_.begin(), entries_, found->second);
    return found->second->value;
  }

  /// `bytes`: what the value takes in memory, beside what the cache itself needs for it.
  void put(const CacheKey& key, Value value, std::uint64_t bytes) {
    constexpr std::uint64_t kOverhead = 128;  // list node and table entry
    bytes += sizeof(Entry) + kOverhead;
    if (bytes > most_bytes_) return;
    const std::lock_guard lock(mutex_);
    if (places_.contains(key)) return;
    std::list<Entry> made;  // in both or, without memory, in neither
    made.push_front({key, std::move(value), bytes});
    places_.emplace(key, made.begin());
    entries_.splice(entries_.begin(), made);
    counts_.bytes += bytes;
    while (counts_.bytes > most_bytes_) {
      counts_.bytes -= entries_.back().bytes;
      places_.erase(entries_.back().key);
      entries_.pop_back();
    }
    counts_.entries = entries_.size();
  }

  CacheCounts counts() const {
    const std::lock_guard lock(mutex_);
    return counts_;
  }

 private:
  struct Entry {
    CacheKey key;
    Value value;
    std::uint64_t bytes;
  };
  struct Hash {
    std::size_t operator()(const CacheKey& key) const { return key[0]; }  // a digest is a hash
  };

  std::uint64_t most_bytes_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;  // the last used first
  std::unordered_map<CacheKey, typename std::list<Entry>::iterator, Hash> places_;
  CacheCounts counts_;
};

}  // namespace rtai::serve
