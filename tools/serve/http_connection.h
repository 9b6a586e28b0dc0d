// The clients of the HTTP server, one by one.
#pragma once

#include "tools/serve/http_server.h"

#include <boost/asio/generic/stream_protocol.hpp>

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <unordered_set>

namespace rtai::serve {

class Connection;

/// What the connections of a server share. They end before it does.
struct Connections {
  HttpOptions options;
  HttpHandler handler;
  std::atomic<bool> draining{false};  // tell clients to close
  std::atomic<bool> closing{false};   // nobody comes any more: stop when the last one is gone
  std::atomic<std::uint64_t> malformed{0};
  std::atomic<std::uint64_t> timed_out{0};
  mutable std::mutex mutex;
  std::unordered_set<Connection*> open;  // guarded by mutex
  std::function<void()> on_empty;        // the last connection went while closing

  int count() const;
};

/// Serves a client on the executor of its socket, until it goes or breaks a rule; `shared` outlives
/// it. Throws std::bad_alloc, and the client is gone then.
void serve_client(boost::asio::generic::stream_protocol::socket socket,
                  Connections& shared,
                  bool is_tcp);

/// Ends those connections on which no request has begun.
void close_idle(Connections& shared);

}  // namespace rtai::serve
