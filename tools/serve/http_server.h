// An HTTP/1.1 server on a few I/O threads: strict about what it reads, bounded in all it keeps.
#pragma once

#include "runtime/base/result.h"
#include "tools/serve/event_loop.h"
#include "tools/serve/http_message.h"

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace rtai::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8000;  // 0: any free one
  std::string unix_path;      // a socket there instead of host and port
  int threads = 1;            // that do nothing else; 0: those that call serve()
  std::size_t max_body_bytes = 2u << 20;
  int max_connections = 4096;
  std::chrono::milliseconds head_time{10'000};   // from its first byte to its last
  std::chrono::milliseconds idle_time{60'000};   // between requests
  std::chrono::milliseconds body_time{10'000};   // and one second more for each 16 KiB
  std::chrono::milliseconds write_time{30'000};  // for a whole response
};

/// What the server counts about itself.
struct HttpCounts {
  int connections = 0;            // open now
  std::uint64_t accepted = 0;     // connections
  std::uint64_t turned_away = 0;  // connections beyond the limit
  std::uint64_t malformed = 0;    // requests refused by the rules of HTTP
  std::uint64_t timed_out = 0;    // connections closed for slowness in the middle of a message
};

/// Connections and posted work are served by threads of its own, and by those that call serve();
/// who connects, signals and timers by the thread of run().
class HttpServer : public EventLoop {
 public:
  /// Binds and listens; nobody is served before run().
  ///
  /// Errors: io if the address cannot be had.
  static Result<std::unique_ptr<HttpServer>> listen(const HttpOptions& options,
                                                    HttpHandler handler);

  virtual std::uint16_t port() const = 0;
  /// Serves until drained or stopped. Without threads of its own the caller helps when called, and
  /// four times a second, for as long as `needs_help` is true.
  virtual void run(const std::function<bool()>& needs_help) = 0;

  /// Runs `work` on an I/O thread. From any thread.
  virtual void post(std::function<void()> work) = 0;
  /// Calls `action` for each signal in turn. Before run().
  virtual void on_signals(std::function<void(int signal)> action) = 0;
  /// Calls `action` again and again. Before run().
  virtual void every(std::chrono::milliseconds period, std::function<void()> action) = 0;

  /// Answers what is there and what still comes for the length of `linger`, telling clients to
  /// close; then takes no more connections, ends idle ones, and lets run() return once all are
  /// gone, at the latest after `limit`.
  virtual void drain(std::chrono::milliseconds linger, std::chrono::milliseconds limit) = 0;
  virtual HttpCounts counts() const = 0;
};

}  // namespace rtai::serve
