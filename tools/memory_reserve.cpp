#include "tools/memory_reserve.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace rtai::tools {
namespace {

constexpr std::size_t kReserveBytes = std::size_t{1} << 20;

std::atomic<void*>& reserve() {
  static std::atomic<void*> instance{nullptr};
  return instance;
}

void give_up_reserve() {
  void* held = reserve().exchange(nullptr);
  if (held == nullptr) throw std::bad_alloc();
  std::free(held);
}

}  // namespace

void hold_memory_reserve() {
  std::set_new_handler(&give_up_reserve);
  if (reserve().load() != nullptr) return;
  void* held = std::malloc(kReserveBytes);
  void* nothing = nullptr;
  if (!reserve().compare_exchange_strong(nothing, held)) std::free(held);
}

}  // namespace rtai::tools
