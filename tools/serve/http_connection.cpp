// The door to Boost.Beast for the server; the headers take long to compile, so nobody else has
// them.
#include "tools/serve/http_connection.h"

#include "tools/serve/http_rules.h"

#include <boost/asio/dispatch.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>
#include <netinet/tcp.h>

#include <array>
#include <new>
#include <optional>
#include <vector>

namespace rtai::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

using Socket = asio::generic::stream_protocol::socket;
using Stream = beast::basic_stream<asio::generic::stream_protocol>;

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

}  // namespace

/// One client: reads a request, hands it on, writes the response, reads the next. All its handlers
/// run one after the other. It lives as long as one of them, or a Respond, is outstanding.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Socket socket, Connections& shared, bool is_tcp)
      : stream_(std::move(socket)), shared_(shared), is_tcp_(is_tcp) {
    const std::lock_guard lock(shared_.mutex);
    shared_.open.insert(this);
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    bool last = false;
    {
      const std::lock_guard lock(shared_.mutex);
      shared_.open.erase(this);
      last = shared_.open.empty() && shared_.closing;
    }
    if (last) shared_.on_empty();
  }

  auto executor() { return stream_.get_executor(); }

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
    constexpr std::uint64_t kUnknown = ~std::uint64_t{0};
    const bool is_apart = buffer_.size() < parser_->content_length().value_or(kUnknown);
    // Clients that send head and body apart would wait for a delayed acknowledgement in between.
    if (is_tcp_ && is_apart) {
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
  Connections& shared_;
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

int Connections::count() const {
  const std::lock_guard lock(mutex);
  return static_cast<int>(open.size());
}

void serve_client(Socket socket, Connections& shared, bool is_tcp) {
  auto connection = std::make_shared<Connection>(std::move(socket), shared, is_tcp);
  asio::post(connection->executor(), [connection] { connection->start(); });
}

void close_idle(Connections& shared) {
  std::vector<std::shared_ptr<Connection>> open;
  {
    const std::lock_guard lock(shared.mutex);
    for (Connection* connection : shared.open) {
      if (auto owned = connection->weak_from_this().lock()) open.push_back(std::move(owned));
    }
  }
  for (const auto& connection : open)
    connection->close_if_idle();
}

}  // namespace rtai::serve
