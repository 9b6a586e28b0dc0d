// Reading and writing, as threads do it that have other work besides.
#pragma once

#include "tools/serve/http_message.h"

namespace rtai::serve {

/// From any thread, all of it.
class EventLoop {
 public:
  virtual ~EventLoop() = default;

  /// Does what there is to do, for a millisecond at most. If there is nothing, waits for it
  /// for so long.
  virtual void serve(Clock::duration patience) = 0;
  /// One of those that wait in serve() returns.
  virtual void wake() noexcept = 0;
  /// All who call serve() are busy for a while: somebody else should.
  virtual void call_help() noexcept = 0;
};

}  // namespace rtai::serve
