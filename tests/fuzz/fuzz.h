// What the fuzz targets share. Each is one source with LLVMFuzzerTestOneInput, as libFuzzer calls
// it; replay.cpp calls the same without clang.
#pragma once

#include "tests/support/temp_folder.h"

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string_view>
#include <vector>

extern "C" {
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

/// Changes `size` bytes in place, up to `most` of them; returns how many there are then. libFuzzer
/// and replay.cpp both have it.
std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t most);
}

namespace rtai::fuzz {

inline std::span<const std::byte> bytes_of(const std::uint8_t* data, std::size_t size) {
  return std::as_bytes(std::span(data, size));
}

inline std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// What must hold whatever the input is; a failure is a finding.
inline void expect(bool holds) {
  if (!holds) __builtin_trap();
}

/// Numbers of a sequence that follows from its seed (xorshift64*, Vigna 2016, arXiv:1402.6246).
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 + 1) {}

  std::uint64_t next() {
    state_ ^= state_ >> 12, state_ ^= state_ << 25, state_ ^= state_ >> 27;
    return state_ * 0x2545f4914f6cdd1d;
  }
  /// In [0, count); `count` > 0.
  std::size_t below(std::size_t count) { return static_cast<std::size_t>(next() >> 16) % count; }
  bool one_in(std::size_t count) { return below(count) == 0; }

 private:
  std::uint64_t state_;
};

/// Numbers at which arithmetic goes wrong, and small ones that fit where others are expected.
inline std::int64_t telling_number(Dice& dice) {
  const std::int64_t power = std::int64_t{1} << dice.below(63);
  switch (dice.below(6)) {
    case 0:
      return power;
    case 1:
      return power - 1;
    case 2:
      return -power;
    case 3:
      return -1;
    default:
      return static_cast<std::int64_t>(dice.below(20));
  }
}

/// A stable digest of an input, for what is done with some inputs only (FNV-1a).
inline std::uint64_t hash_of(std::span<const std::byte> bytes) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::byte byte : bytes)
    hash = (hash ^ static_cast<std::uint64_t>(byte)) * 0x100000001b3;
  return hash;
}

/// Parts of an input that zero bytes divide; the last one holds the rest.
inline std::vector<std::string_view> split(std::string_view text, std::size_t most) {
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < most) {
    const std::size_t end = text.find('\0');
    if (end == text.npos) break;
    parts.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  parts.push_back(text);
  parts.resize(most);
  return parts;
}

/// A folder of this run for readers that want files; TMPDIR=/dev/shm keeps it in memory.
class Folder {
 public:
  static const Folder& get() {
    static const Folder folder;
    return folder;
  }
  const std::filesystem::path& path() const { return folder_.path(); }
  /// An empty text removes the file.
  void put(const char* name, std::string_view text) const {
    const std::filesystem::path file = path() / name;
    if (text.empty()) {
      std::filesystem::remove(file);
      return;
    }
    std::ofstream(file, std::ios::binary) << text;
  }

 private:
  testing::TempFolder folder_;
};

}  // namespace rtai::fuzz
