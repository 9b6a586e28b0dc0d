// Assertions are for our own mistakes; what a user can cause is a Result.
#pragma once

namespace rtai {

/// Prints the place and the reason to standard error and aborts. Only RTAI_ASSERT calls it.
[[noreturn]] void assertion_failed(const char* condition,
                                   const char* reason,
                                   const char* file,
                                   int line);

}  // namespace rtai

/// `RTAI_ASSERT(condition, "why it must hold")`: active in every build type but Release.
#ifdef NDEBUG
#define RTAI_ASSERT(condition, reason) static_cast<void>(sizeof(!(condition)))
#else
#define RTAI_ASSERT(condition, reason) \
  ((condition) ? static_cast<void>(0)  \
               : ::rtai::assertion_failed(#condition, reason, __FILE__, __LINE__))
#endif
