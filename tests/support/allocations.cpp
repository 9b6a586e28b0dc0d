#include "tests/support/allocations.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

// NOLINTBEGIN: operator new has nowhere else to keep them
std::atomic<long> count{0};
std::atomic<long> live{0};
std::atomic<long> until_failure{0};
// NOLINTEND

void count_one() {
  if (until_failure > 0 && --until_failure == 0) throw std::bad_alloc();
  ++count;
  ++live;
}

void* counted(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) {
  if (memory == nullptr) return;
  --live;
  std::free(memory);
}

}  // namespace

namespace rtai::testing {
long allocation_count() {
  return count.load();
}
long live_allocations() {
  return live.load();
}
void fail_allocation(long n) {
  until_failure = n;
}
bool fail_allocation_came() {
  return until_failure == 0;
}
}  // namespace rtai::testing

void* operator new(std::size_t size) {
  count_one();
  return counted(std::malloc(size == 0 ? 1 : size));
}
void* operator new(std::size_t size, const std::nothrow_t& /*tag*/) noexcept try {
  return operator new(size);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void* operator new(std::size_t size, std::align_val_t alignment) {
  count_one();
  const auto align = static_cast<std::size_t>(alignment);
  return counted(std::aligned_alloc(align, (size + align - 1) / align * align));
}
void* operator new(std::size_t size,
                   std::align_val_t alignment,
                   const std::nothrow_t& /*tag*/) noexcept try {
  return operator new(size, alignment);
} catch (const std::bad_alloc&) {
  return nullptr;
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, const std::nothrow_t& /*tag*/) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t, const std::nothrow_t& /*tag*/) noexcept {
  release(memory);
}
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept {
  release(memory);
}
