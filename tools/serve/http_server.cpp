// The door to Boost.Beast for the server; the headers take long to compile, so nobody else has
// them.
#include "tools/serve/http_server.h"

#include "tools/serve/http_rules.h"

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <mutex>
#include <new>
#include <optional>
#include <thread>
#include <unordered_set>

namespace rtai::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

using Socket = asio::generic::stream_protocol::socket;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;

class Connection;

/// Calls `start` until there is memory for it: what is not begun again here would never be.
template <class Start>
void insist(Start&& start) {
  constexpr auto kPause = std::chrono::milliseconds(10);
  while (true) {
    try {
      return start();
    } catch (const std::bad_alloc&) {
      std::this_thread::sleep_for(kPause);
    }
  }
}

/// Status line and fields. Beast would write them too, and take much longer to compile.
std::string head_of(const HttpResponse& response, bool keep_alive) {
  const std::string_view reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string head =
      fmt::format("HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n", response.status,
                  reason, response.content_type, response.body.size());
  for (const auto& [name, value] : response.headers)
    head += fmt::format("{}: {}\r\n", name, value);
  if (!keep_alive) head += "Connection: close\r\n";
  return head + "\r\n";
}

/// What connections share. They end before it does.
struct Shared {
  HttpOptions options;
  HttpHandler handler;
  std::atomic<bool> draining{false};  // tell clients to close
  std::atomic<bool> closing{false};   // nobody comes any more: stop when the last one is gone
  std::atomic<std::uint64_t> accepted{0};
  std::atomic<std::uint64_t> turned_away{0};
  std::atomic<std::uint64_t> malformed{0};
  std::atomic<std::uint64_t> timed_out{0};
  std::mutex mutex;
  std::unordered_set<Connection*> connections;  // guarded by mutex
  std::function<void()> on_empty;               // the last connection went while closing
};

/// One client: reads a request, hands it on, writes the response, reads the next. All its handlers
/// run one after the other. It lives as long as one of them, or a Respond, is outstanding.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, Shared& shared, bool is_tcp)
      : stream_(std::move(socket)), shared_(shared), is_tcp_(is_tcp) {
    const std::lock_guard lock(shared_.mutex);
    shared_.connections.insert(this);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    bool last = false;
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.connections.erase(this);
      last = shared_.connections.empty() && shared_.closing;
    }
    if (last) shared_.on_empty();
  }

  void start() {
    if (is_tcp_) {
      error_code ignored;
      stream_.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
    }
    wait_for_request();
  }

  /// Ends the connection if no request has begun.
  void close_if_idle() {
    asio::dispatch(stream_.get_executor(), [self = shared_from_this()] {
      if (self->idle_) self->stream_.close();
    });
  }

 private:
  void wait_for_request() {
    idle_ = buffer_.size() == 0;
    if (!idle_) return begin_head();
    buffer_.shrink_to_fit();  // an idle connection should cost little
    stream_.expires_after(shared_.options.idle_time);
    read_some([this](error_code error) {
      if (error) return;
      idle_ = false;
      begin_head();
    });
  }

  void begin_head() {
    stream_.expires_after(shared_.options.head_time);
    read_head();
  }

  void read_head() {
    const auto data = buffer_.data();
    const std::string_view received(static_cast<const char*>(data.data()), data.size());
    const std::size_t end = received.find("\r\n\r\n");
    if (end != std::string_view::npos && end + 4 <= kMaxHeadBytes)
      return parse_head(received.substr(0, end + 4));
    if (end != std::string_view::npos || received.size() >= kMaxHeadBytes)
      return refuse({431, "request head too large"});
    if (is_hopeless(received)) return refuse({400, "expected an HTTP request"});
    read_some([this](error_code error) {
      if (error) return note(error);
      read_head();
    });
  }

  void parse_head(std::string_view head) {
    if (const auto refusal = check_head(head)) return refuse(*refusal);
    parser_.emplace();
    parser_->header_limit(kMaxHeadBytes);
    parser_->body_limit(shared_.options.max_body_bytes);
    error_code error;
    const std::size_t size = head.size();
    parser_->put(asio::buffer(head.data(), head.size()), error);
    if (error == http::error::body_limit) return refuse({413, "body too large"});
    if (error && error != http::error::need_more) return refuse({400, "bad request"});
    if (!parser_->is_header_done()) return refuse({400, "bad request"});
    buffer_.consume(size);
    head_request_ = parser_->get().method() == http::verb::head;
    if (parser_->is_done()) return dispatch();
    if (!parser_->get()[http::field::expect].empty() && buffer_.size() == 0) return allow_body();
    read_body();
  }

  void allow_body() {
    static constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    send({asio::buffer(kContinue), {}}, [this] { read_body(); });
  }

  void read_body() {
    // Clients that send head and body apart would wait for a delayed acknowledgement in between.
    if (is_tcp_) {
      const int on = 1;
      ::setsockopt(stream_.socket().native_handle(), IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    }
    constexpr std::uint64_t kLeastBytesPerSecond = 16 * 1024;
    const std::uint64_t bytes = parser_->content_length().value_or(0);
    stream_.expires_after(shared_.options.body_time +
                          std::chrono::seconds(bytes / kLeastBytesPerSecond));
    http::async_read(stream_, buffer_, *parser_,
                     [self = shared_from_this()](error_code error, std::size_t) {
                       if (error) return self->note(error);
                       self->dispatch();
                     });
  }

  void dispatch() {
    try {
      hand_on();
    } catch (const std::bad_alloc&) {
      keep_alive_ = false;
      write({.status = 503});
    }
  }

  void hand_on() {
    stream_.expires_never();  // compute has limits of its own
    auto message = parser_->release();
    parser_.reset();
    keep_alive_ = message.keep_alive();
    HttpRequest request;
    // A HEAD is answered as a GET whose body is not sent.
    request.method = head_request_ ? "GET" : std::string(message.method_string());
    const auto target = message.target();
    request.path = std::string(target.substr(0, target.find('?')));
    for (const auto& field : message)
      request.headers.emplace_back(field.name_string(), field.value());
    request.body = std::move(message.body());
    request.arrival = Clock::now();
    shared_.handler(std::move(request), [self = shared_from_this()](HttpResponse response) {
      asio::dispatch(
          self->stream_.get_executor(),
          [self, response = std::move(response)]() mutable { self->write(std::move(response)); });
    });
  }

  void write(HttpResponse response) {
    keep_alive_ = keep_alive_ && !shared_.draining;
    head_ = head_of(response, keep_alive_);
    body_ = head_request_ ? std::string() : std::move(response.body);
    stream_.expires_after(shared_.options.write_time);
    send({asio::buffer(head_), asio::buffer(body_)}, [this] {
      std::string().swap(body_);  // an idle connection should cost little
      if (!keep_alive_) return end();
      wait_for_request();
    });
  }

  /// Both parts leave in one system call.
  template <class Next>
  void send(std::array<asio::const_buffer, 2> parts, Next next) {
    asio::async_write(stream_, parts,
                      [self = shared_from_this(), next](error_code error, std::size_t) {
                        if (error) return self->note(error);
                        next();
                      });
  }

  /// What cannot be understood ends the connection: nobody knows where the next request begins.
  void refuse(const Refusal& refusal) {
    ++shared_.malformed;
    keep_alive_ = false;
    head_request_ = false;
    write({.status = refusal.status,
           .body = fmt::format(R"({{"error":"{}","error_type":"http"}})", refusal.reason)});
  }

  /// Says goodbye and reads what still comes for a moment: closing at once would reset the
  /// connection, and the client could lose the response.
  void end() {
    error_code ignored;
    stream_.socket().shutdown(asio::socket_base::shutdown_send, ignored);
    constexpr auto kPatience = std::chrono::seconds(2);
    stream_.expires_after(kPatience);
    discard();
  }

  void discard() {
    constexpr std::size_t kMostDiscarded = 1u << 20;
    buffer_.clear();
    if (discarded_ > kMostDiscarded) return;
    read_some([this](error_code error) {
      discarded_ += buffer_.size();
      if (!error) discard();
    });
  }

  template <class Next>
  void read_some(Next next) {
    constexpr std::size_t kAtOnce = 4096;
    stream_.async_read_some(
        buffer_.prepare(kAtOnce),
        [self = shared_from_this(), next = std::move(next)](error_code error, std::size_t bytes) {
          self->buffer_.commit(bytes);
          next(error);
        });
  }

  void note(error_code error) {
    if (error == beast::error::timeout) ++shared_.timed_out;
  }

  Stream stream_;
  Shared& shared_;
  bool is_tcp_;
  bool idle_ = false;
  bool keep_alive_ = true;
  bool head_request_ = false;
  std::size_t discarded_ = 0;
  beast::flat_buffer buffer_{kMaxHeadBytes + 65'536};
  std::optional<http::request_parser<http::string_body>> parser_;
  std::string head_;  // of the response that is being written
  std::string body_;
};

class BeastServer final : public HttpServer {
 public:
  BeastServer(const HttpOptions& options, HttpHandler handler)
      : io_(options.threads), signals_(io_), linger_timer_(io_), limit_timer_(io_) {
    shared_.options = options;
    shared_.handler = std::move(handler);
    shared_.on_empty = [this] { io_.stop(); };
  }
  ~BeastServer() override {
    if (!bound_path_.empty()) ::unlink(bound_path_.c_str());
  }

  Result<void> bind() {
    const HttpOptions& options = shared_.options;
    return options.unix_path.empty() ? bind_tcp(options) : bind_unix(options.unix_path);
  }

  std::uint16_t port() const override { return port_; }

  void run() override {
    if (tcp_) accept(*tcp_, true);
    if (unix_) accept(*unix_, false);
    std::vector<std::jthread> threads;
    try {
      for (int i = 1; i < shared_.options.threads; ++i)
        threads.emplace_back([this] { work(); });
    } catch (...) {
      io_.stop();
      throw;
    }
    work();
  }

  void post(std::function<void()> work) override { asio::post(io_, std::move(work)); }

  void on_signals(std::function<void(int)> action) override {
    signals_.add(SIGTERM);
    signals_.add(SIGINT);
    signals_.add(SIGHUP);
    on_signal_ = std::move(action);
    wait_for_signal();
  }

  void every(std::chrono::milliseconds period, std::function<void()> action) override {
    timers_.push_back(
        std::make_unique<Timer>(Timer{asio::steady_timer(io_), period, std::move(action)}));
    wait_for(*timers_.back());
  }

  void drain(std::chrono::milliseconds linger, std::chrono::milliseconds limit) override {
    shared_.draining = true;
    after(linger_timer_, linger, [this] { stop_accepting(); });
    after(limit_timer_, limit, [this] { io_.stop(); });
  }

  HttpCounts counts() const override {
    const std::lock_guard lock(shared_.mutex);
    return {.connections = static_cast<int>(shared_.connections.size()),
            .accepted = shared_.accepted,
            .turned_away = shared_.turned_away,
            .malformed = shared_.malformed,
            .timed_out = shared_.timed_out};
  }

 private:
  struct Timer {
    asio::steady_timer timer;
    std::chrono::milliseconds period;
    std::function<void()> action;
  };

  /// Where memory runs out in the middle of something, the connection it was for is dropped; the
  /// others stay.
  void work() {
    while (true) {
      try {
        io_.run();
        return;
      } catch (const std::bad_alloc&) {
      }
    }
  }

  Result<void> bind_tcp(const HttpOptions& options) {
    error_code error;
    const std::string place = fmt::format("{}:{}", options.host, options.port);
    asio::ip::tcp::resolver resolver(io_);
    const auto found = resolver.resolve(options.host, std::to_string(options.port),
                                        asio::ip::resolver_base::passive, error);
    if (error) return Error{ErrorCode::io, fmt::format("{}: {}", place, error.message())};
    const asio::ip::tcp::endpoint endpoint = found.begin()->endpoint();
    tcp_.emplace(io_);
    tcp_->open(endpoint.protocol(), error);
    if (!error) tcp_->set_option(asio::socket_base::reuse_address(true), error);
    if (!error) tcp_->bind(endpoint, error);
    if (!error) tcp_->listen(asio::socket_base::max_listen_connections, error);
    if (error) return Error{ErrorCode::io, fmt::format("{}: {}", place, error.message())};
    port_ = tcp_->local_endpoint().port();
    return {};
  }

  /// A socket left behind by a server that is gone is replaced; nothing else is.
  Result<void> bind_unix(const std::string& path) {
    error_code error;
    const asio::local::stream_protocol::endpoint endpoint(path);
    struct stat status = {};
    if (::lstat(path.c_str(), &status) == 0 && S_ISSOCK(status.st_mode)) {
      asio::local::stream_protocol::socket probe(io_);
      probe.connect(endpoint, error);
      if (!error) return Error{ErrorCode::io, fmt::format("{}: another server listens here", path)};
      ::unlink(path.c_str());
      error = {};
    }
    unix_.emplace(io_);
    unix_->open(endpoint.protocol(), error);
    if (!error) unix_->bind(endpoint, error);
    if (!error) bound_path_ = path;
    if (!error) unix_->listen(asio::socket_base::max_listen_connections, error);
    if (error) return Error{ErrorCode::io, fmt::format("{}: {}", path, error.message())};
    return {};
  }

  asio::any_io_executor executor() {
    if (shared_.options.threads == 1) return io_.get_executor();
    return asio::make_strand(io_);
  }

  template <class Acceptor>
  void accept(Acceptor& acceptor, bool is_tcp) {
    insist([&] {
      acceptor.async_accept(executor(), [this, &acceptor, is_tcp](error_code error, auto socket) {
        if (!error) welcome(Socket(std::move(socket)), is_tcp);
        if (!acceptor.is_open()) return;
        if (error && error != asio::error::connection_aborted)
          return accept_later(acceptor, is_tcp);
        accept(acceptor, is_tcp);
      });
    });
  }

  /// Out of file descriptors: some will be free again.
  template <class Acceptor>
  void accept_later(Acceptor& acceptor, bool is_tcp) {
    insist([&] {
      auto timer = std::make_shared<asio::steady_timer>(io_, std::chrono::milliseconds(50));
      timer->async_wait([this, &acceptor, is_tcp, timer](error_code) {
        if (acceptor.is_open()) accept(acceptor, is_tcp);
      });
    });
  }

  void welcome(Socket socket, bool is_tcp) {
    ++shared_.accepted;
    if (counts().connections >= shared_.options.max_connections) {
      ++shared_.turned_away;
      static constexpr std::string_view kFull =
          "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
          "Connection: close\r\n\r\n";
      error_code ignored;
      socket.non_blocking(true, ignored);
      socket.write_some(asio::buffer(kFull), ignored);
      return;
    }
    try {
      std::make_shared<Connection>(std::move(socket), shared_, is_tcp)->start();
    } catch (const std::bad_alloc&) {  // it closes; the next may find more
      ++shared_.turned_away;
    }
  }

  /// Whoever has connected is served: closing the listener would reset those it has not handed out.
  template <class Acceptor>
  void accept_last(Acceptor& acceptor, bool is_tcp) {
    error_code error;
    acceptor.non_blocking(true, error);
    while (!error) {
      auto socket = acceptor.accept(executor(), error);
      if (!error) welcome(Socket(std::move(socket)), is_tcp);
    }
    acceptor.close(error);
  }

  void stop_accepting() {
    if (tcp_) accept_last(*tcp_, true);
    if (unix_) accept_last(*unix_, false);
    shared_.closing = true;
    if (counts().connections == 0) return io_.stop();
    // Clients that were answered before the drain may be sending their next request right now.
    constexpr auto kGrace = std::chrono::milliseconds(500);
    after(linger_timer_, kGrace, [this] { close_idle(); });
  }

  void close_idle() {
    std::vector<std::shared_ptr<Connection>> open;
    {
      const std::lock_guard lock(shared_.mutex);
      for (Connection* connection : shared_.connections) {
        if (auto shared = connection->weak_from_this().lock()) open.push_back(std::move(shared));
      }
    }
    for (const auto& connection : open)
      connection->close_if_idle();
  }

  template <class Action>
  static void after(asio::steady_timer& timer, std::chrono::milliseconds time, Action action) {
    insist([&] {
      timer.expires_after(time);
      timer.async_wait([action](error_code error) {
        if (!error) insist(action);
      });
    });
  }

  void wait_for_signal() {
    insist([this] {
      signals_.async_wait([this](error_code error, int signal) {
        if (error) return;
        wait_for_signal();
        insist([&] { on_signal_(signal); });
      });
    });
  }

  static void wait_for(Timer& timer) {
    insist([&timer] {
      timer.timer.expires_after(timer.period);
      timer.timer.async_wait([&timer](error_code error) {
        if (error) return;
        wait_for(timer);
        timer.action();
      });
    });
  }

  // Destroyed last: the context's destructor ends connections, which use it.
  mutable Shared shared_;
  asio::io_context io_;
  std::optional<asio::ip::tcp::acceptor> tcp_;
  std::optional<asio::local::stream_protocol::acceptor> unix_;
  asio::signal_set signals_;
  asio::steady_timer linger_timer_;
  asio::steady_timer limit_timer_;
  std::vector<std::unique_ptr<Timer>> timers_;
  std::function<void(int)> on_signal_;
  std::string bound_path_;
  std::uint16_t port_ = 0;
};

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::listen(const HttpOptions& options,
                                                       HttpHandler handler) {
  auto server = std::make_unique<BeastServer>(options, std::move(handler));
  RTAI_TRY_VOID(server->bind());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace rtai::serve
