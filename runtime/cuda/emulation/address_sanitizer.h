// What AddressSanitizer is told of fibers, which it cannot see; nothing in builds without it.
#pragma once

#include <cstddef>

#if defined(__SANITIZE_ADDRESS__)  // gcc
#define RTAI_ADDRESS_SANITIZER
#elif defined(__has_feature)  // clang
#if __has_feature(address_sanitizer)
#define RTAI_ADDRESS_SANITIZER
#endif
#endif

#ifdef RTAI_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace rtai::cuda::host {

/// The memory of a stack.
struct StackBounds {
  const void* begin = nullptr;
  std::size_t bytes = 0;
};

#ifdef RTAI_ADDRESS_SANITIZER

/// Forgets the frames on a stack that nobody comes back to: who left it has not returned from them.
inline void forget_frames(const StackBounds& stack) {
  __asan_unpoison_memory_region(stack.begin, stack.bytes);
}
/// Just before a switch to the stack `next`. `*frames` keeps what is known of those that are left;
/// null if nobody comes back to them.
inline void before_switch(void** frames, const StackBounds& next) {
  __sanitizer_start_switch_fiber(frames, next.begin, next.bytes);
}
/// Just after a switch, with the frames of the stack arrived at. Returns the stack that was left.
inline StackBounds after_switch(void* frames) {
  StackBounds left;
  __sanitizer_finish_switch_fiber(frames, &left.begin, &left.bytes);
  return left;
}

#else

inline void forget_frames(const StackBounds&) {}
inline void before_switch(void**, const StackBounds&) {}
inline StackBounds after_switch(void*) {
  return {};
}

#endif

}  // namespace rtai::cuda::host
