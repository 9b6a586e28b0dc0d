#include "tests/support/guarded.h"

#include <sys/mman.h>

#include <algorithm>
#include <map>
#include <new>
#include <utility>

namespace rtai::test {
namespace {

constexpr std::size_t kPage = 4096;

bool holds_pattern(const std::byte* begin, const std::byte* end) {
  return std::all_of(begin, end, [](std::byte b) { return b == kForbidden; });
}

/// Mappings that tests gave back, for the next of the same size: making one takes longer than most
/// tests.
class Pool {
 public:
  ~Pool() {
    for (const auto& [bytes, mapping] : free_)
      ::munmap(mapping, bytes);
  }

  /// `room` bytes to use, an unreadable page before and after them.
  std::byte* take(std::size_t room) {
    const std::size_t bytes = room + 2 * kPage;
    if (const auto found = free_.find(bytes); found != free_.end()) {
      std::byte* mapping = found->second;
      free_.erase(found);
      return mapping;
    }
    void* made = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED) throw std::bad_alloc();
    auto* mapping = static_cast<std::byte*>(made);
    if (::mprotect(mapping + kPage, room, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    return mapping;
  }
  void give_back(std::byte* mapping, std::size_t bytes) { free_.emplace(bytes, mapping); }

 private:
  std::multimap<std::size_t, std::byte*> free_;
};

Pool& pool() {
  static Pool pool;
  return pool;
}

}  // namespace

GuardedMemory::GuardedMemory(std::size_t bytes, std::size_t alignment) : bytes_(bytes) {
  const std::size_t room = round_up(std::max<std::size_t>(bytes + alignment, 1), kPage);
  mapping_bytes_ = room + 2 * kPage;
  mapping_ = pool().take(room);
  std::memset(mapping_ + kPage, std::to_integer<int>(kForbidden), room);
  data_ = mapping_ + kPage + (room - bytes) / alignment * alignment;
}

GuardedMemory::GuardedMemory(GuardedMemory&& other) noexcept
    : mapping_(std::exchange(other.mapping_, nullptr)),
      mapping_bytes_(other.mapping_bytes_),
      data_(other.data_),
      bytes_(other.bytes_) {}

GuardedMemory& GuardedMemory::operator=(GuardedMemory&& other) noexcept {
  std::swap(mapping_, other.mapping_);
  std::swap(mapping_bytes_, other.mapping_bytes_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  return *this;
}

GuardedMemory::~GuardedMemory() {
  if (mapping_ != nullptr) pool().give_back(mapping_, mapping_bytes_);
}

bool GuardedMemory::is_intact() const {
  return holds_pattern(mapping_ + kPage, data_) &&
         holds_pattern(data_ + bytes_, mapping_ + mapping_bytes_ - kPage);
}

}  // namespace rtai::test
