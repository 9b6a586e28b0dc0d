#include "tools/serve/http_server.h"

#include "tools/serve/http_connection.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/strand.hpp>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <optional>
#include <thread>

namespace rtai::serve {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

using Socket = asio::generic::stream_protocol::socket;

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

class AsioServer final : public HttpServer {
 public:
  AsioServer(const HttpOptions& options, HttpHandler handler)
      : io_(std::max(1, options.threads)),
        work_(io_.get_executor()),
        control_work_(control_.get_executor()),
        signals_(control_),
        linger_timer_(control_),
        limit_timer_(control_) {
    shared_.options = options;
    shared_.handler = std::move(handler);
    shared_.on_empty = [this] { stop(); };
  }
  ~AsioServer() override {
    if (!bound_path_.empty()) ::unlink(bound_path_.c_str());
  }

  Result<void> bind() {
    const HttpOptions& options = shared_.options;
    return options.unix_path.empty() ? bind_tcp(options) : bind_unix(options.unix_path);
  }

  std::uint16_t port() const override { return port_; }

  void run(const std::function<bool()>& needs_help) override {
    if (tcp_) accept(*tcp_, true);
    if (unix_) accept(*unix_, false);
    std::vector<std::jthread> threads;
    try {
      for (int i = 0; i < shared_.options.threads; ++i)
        threads.emplace_back([this] { run_all(io_); });
    } catch (...) {
      stop();
      throw;
    }
    needs_help_ = needs_help;
    // A thread that is stuck calls nobody.
    if (threads.empty()) every(std::chrono::milliseconds(250), [this] { help(); });
    run_all(control_);
  }

  void serve(Clock::duration patience) override {
    if (!take_lead(patience)) return;
    try {
      if (poll() == 0 && patience > Clock::duration::zero()) io_.run_one_for(patience);
    } catch (const std::bad_alloc&) {  // the connection it was for is dropped
    }
    leave_lead();
    constexpr auto kPause = std::chrono::milliseconds(1);  // whoever ended it ends the caller
    if (io_.stopped()) std::this_thread::sleep_for(kPause);
  }

  void wake() noexcept override {
    {
      const std::lock_guard lock(lead_mutex_);
      if (followers_ > 0) {
        ++wakes_;
        lead_is_free_.notify_one();
        return;
      }
    }
    try {
      post([] {});
    } catch (const std::bad_alloc&) {  // it wakes when there is something to read, or by itself
    }
  }

  void call_help() noexcept override {
    try {
      asio::post(control_, [this] { help(); });
    } catch (const std::bad_alloc&) {  // help() looks by itself
    }
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
        std::make_unique<Timer>(Timer{asio::steady_timer(control_), period, std::move(action)}));
    wait_for(*timers_.back());
  }

  void drain(std::chrono::milliseconds linger, std::chrono::milliseconds limit) override {
    shared_.draining = true;
    after(linger_timer_, linger, [this] { stop_accepting(); });
    after(limit_timer_, limit, [this] { stop(); });
  }

  HttpCounts counts() const override {
    return {.connections = shared_.count(),
            .accepted = accepted_,
            .turned_away = turned_away_,
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
  static void run_all(asio::io_context& context) {
    while (true) {
      try {
        context.run();
        return;
      } catch (const std::bad_alloc&) {
      }
    }
  }

  /// One thread of those that call serve() leads, the others wait until it leaves or they are
  /// woken: so the handlers of a connection need no strand, which would be stuck for ever once it
  /// found no memory.
  bool take_lead(Clock::duration patience) {
    std::unique_lock lock(lead_mutex_);
    ++followers_;
    lead_is_free_.wait_for(lock, patience, [this] { return !is_led_ || wakes_ > 0; });
    --followers_;
    if (is_led_) {
      if (wakes_ > 0) --wakes_;
      return false;
    }
    is_led_ = true;
    return true;
  }

  void leave_lead() {
    const std::lock_guard lock(lead_mutex_);
    is_led_ = false;
    if (followers_ > 0) lead_is_free_.notify_one();
  }

  /// Does what is ready, but not without end: requests may come faster than they are refused, and
  /// the caller has those to answer that were taken.
  std::size_t poll() {
    constexpr auto kMost = std::chrono::milliseconds(1);
    const Clock::time_point end = Clock::now() + kMost;
    std::size_t done = 0;
    while (io_.poll_one() > 0) {
      ++done;
      if (Clock::now() > end) break;
    }
    return done;
  }

  /// Serves while all others are busy.
  void help() {
    if (is_helping_ || !needs_help_()) return;
    is_helping_ = true;
    do {
      constexpr auto kPatience = std::chrono::milliseconds(10);
      serve(kPatience);
      control_.poll();
    } while (!io_.stopped() && needs_help_());
    is_helping_ = false;
    wake();  // what came meanwhile is for those that are free now
  }

  void stop() {
    io_.stop();
    control_.stop();
  }

  Result<void> bind_tcp(const HttpOptions& options) {
    error_code error;
    const std::string place = fmt::format("{}:{}", options.host, options.port);
    asio::ip::tcp::resolver resolver(control_);
    const auto found = resolver.resolve(options.host, std::to_string(options.port),
                                        asio::ip::resolver_base::passive, error);
    if (error) return Error{ErrorCode::io, fmt::format("{}: {}", place, error.message())};
    const asio::ip::tcp::endpoint endpoint = found.begin()->endpoint();
    tcp_.emplace(control_);
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
      asio::local::stream_protocol::socket probe(control_);
      probe.connect(endpoint, error);
      if (!error) return Error{ErrorCode::io, fmt::format("{}: another server listens here", path)};
      ::unlink(path.c_str());
      error = {};
    }
    unix_.emplace(control_);
    unix_->open(endpoint.protocol(), error);
    if (!error) unix_->bind(endpoint, error);
    if (!error) bound_path_ = path;
    if (!error) unix_->listen(asio::socket_base::max_listen_connections, error);
    if (error) return Error{ErrorCode::io, fmt::format("{}: {}", path, error.message())};
    return {};
  }

  asio::any_io_executor executor() {
    if (shared_.options.threads <= 1) return io_.get_executor();
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
      auto timer = std::make_shared<asio::steady_timer>(control_, std::chrono::milliseconds(50));
      timer->async_wait([this, &acceptor, is_tcp, timer](error_code) {
        if (acceptor.is_open()) accept(acceptor, is_tcp);
      });
    });
  }

  void welcome(Socket socket, bool is_tcp) {
    ++accepted_;
    if (shared_.count() >= shared_.options.max_connections) {
      ++turned_away_;
      static constexpr std::string_view kFull =
          "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nRetry-After: 1\r\n"
          "Connection: close\r\n\r\n";
      error_code ignored;
      socket.non_blocking(true, ignored);
      socket.write_some(asio::buffer(kFull), ignored);
      return;
    }
    try {
      serve_client(std::move(socket), shared_, is_tcp);
    } catch (const std::bad_alloc&) {  // it closes; the next may find more
      ++turned_away_;
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
    if (shared_.count() == 0) return stop();
    // Clients that were answered before the drain may be sending their next request right now.
    constexpr auto kGrace = std::chrono::milliseconds(500);
    after(linger_timer_, kGrace, [this] { close_idle(shared_); });
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
  Connections shared_;
  std::atomic<std::uint64_t> accepted_{0};     // connections
  std::atomic<std::uint64_t> turned_away_{0};  // connections
  asio::io_context io_;                        // connections and posted work
  asio::io_context control_{1};  // who connects, signals and timers: on the thread of run() alone
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  asio::executor_work_guard<asio::io_context::executor_type> control_work_;
  std::mutex lead_mutex_;
  std::condition_variable lead_is_free_;
  bool is_led_ = false;
  int followers_ = 0;  // wait
  int wakes_ = 0;      // of followers
  std::function<bool()> needs_help_;
  bool is_helping_ = false;
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
  auto server = std::make_unique<AsioServer>(options, std::move(handler));
  RTAI_TRY_VOID(server->bind());
  return std::unique_ptr<HttpServer>(std::move(server));
}

}  // namespace rtai::serve
