// The door to Boost.Beast for the client.
#include "tools/serve/http_client.h"

#include <boost/asio.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <optional>
#include <random>

namespace rtai::serve {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kMostResponseBytes = 1u << 30;

Error cannot_reach(const Url& url, const error_code& error) {
  return {ErrorCode::io, fmt::format("{}: {}", url.text, error.message())};
}

/// A request, ready to be sent.
std::string request_bytes(const Url& url,
                          const std::string& api_key,
                          const std::string& path,
                          const std::string& body) {
  const std::string key =
      api_key.empty() ? "" : fmt::format("Authorization: Bearer {}\r\n", api_key);
  return fmt::format(
      "POST {}{} HTTP/1.1\r\nHost: {}:{}\r\n{}Content-Type: application/json\r\n"
      "Content-Length: {}\r\n\r\n{}",
      url.path, path, url.host, url.port, key, body.size(), body);
}

class BlockingClient final : public HttpClient {
 public:
  BlockingClient(const Url& url, const std::string& api_key)
      : url_(url), api_key_(api_key), stream_(io_) {}

  Result<HttpResponse> post(const std::string& path, const std::string& body) override {
    const std::string bytes = request_bytes(url_, api_key_, path, body);
    const bool was_open = stream_.socket().is_open();
    error_code error = exchange(bytes);
    // A kept connection may have been closed by the server meanwhile; asking again does no harm.
    if (error && was_open) error = exchange(bytes);
    if (error) return cannot_reach(url_, error);
    HttpResponse response{.status = static_cast<int>(response_.result_int()),
                          .body = std::move(response_.body())};
    for (const auto& field : response_)
      response.headers.emplace_back(field.name_string(), field.value());
    return response;
  }

 private:
  error_code exchange(const std::string& bytes) {
    error_code error;
    if (!stream_.socket().is_open()) {
      asio::ip::tcp::resolver resolver(io_);
      const auto found = resolver.resolve(url_.host, url_.port, error);
      if (!error) stream_.connect(found, error);
      if (!error) stream_.socket().set_option(asio::ip::tcp::no_delay(true), error);
    }
    if (!error) asio::write(stream_, asio::buffer(bytes), error);
    if (!error) {
      http::response_parser<http::string_body> parser;
      parser.body_limit(kMostResponseBytes);
      http::read(stream_, buffer_, parser, error);
      response_ = parser.release();
    }
    if (error || !response_.keep_alive()) {
      stream_.close();
      buffer_.clear();
    }
    return error;
  }

  Url url_;
  std::string api_key_;
  asio::io_context io_;
  beast::tcp_stream stream_;
  beast::flat_buffer buffer_;
  http::response<http::string_body> response_;
};

/// Many connections on one thread.
class LoadGenerator {
 public:
  LoadGenerator(const Url& url, const LoadOptions& options)
      : options_(options), timer_(io_), random_(options.seed) {
    for (const std::string& body : options.bodies)
      requests_.push_back(request_bytes(url, options.api_key, options.path, body));
  }

  Result<LoadReport> run(const Url& url) {
    error_code error;
    asio::ip::tcp::resolver resolver(io_);
    const auto found = resolver.resolve(url.host, url.port, error);
    if (error) return cannot_reach(url, error);
    endpoint_ = found.begin()->endpoint();
    for (int i = 0; i < options_.connections; ++i) {
      connections_.push_back(std::make_unique<Connection>(io_));
      connections_.back()->stream.connect(endpoint_, error);
      if (error) return cannot_reach(url, error);
      set_no_delay(*connections_.back());
      idle_.push_back(connections_.back().get());
    }
    start_ = Clock::now();
    end_ = start_ + duration(options_.duration_s);
    next_ = start_;
    if (options_.rate_per_s > 0) {
      schedule();
    } else {
      for (const auto& connection : connections_)
        send_again(*connection);
    }
    constexpr auto kPatience = std::chrono::seconds(20);  // for the last answers
    io_.run_until(end_ + kPatience);
    report_.seconds =
        std::chrono::duration<double>(std::min(last_, end_ + kPatience) - start_).count();
    report_.failed = report_.sent + due_.size() - answers_;
    return std::move(report_);
  }

 private:
  struct Connection {
    explicit Connection(asio::io_context& io) : stream(io) {}

    beast::tcp_stream stream;
    beast::flat_buffer buffer;
    std::optional<http::response_parser<http::string_body>> parser;
    Clock::time_point intended;
  };

  static Clock::duration duration(double seconds) {
    return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(seconds));
  }

  static void set_no_delay(Connection& connection) {
    error_code ignored;
    connection.stream.socket().set_option(asio::ip::tcp::no_delay(true), ignored);
  }

  /// Open loop: requests become due at their times, whatever became of those before.
  void schedule() {
    if (next_ >= end_) return;
    timer_.expires_at(next_);
    timer_.async_wait([this](error_code error) {
      if (error) return;
      for (const Clock::time_point now = Clock::now(); next_ <= now && next_ < end_;) {
        due_.push_back(next_);
        const double gap = 1 / options_.rate_per_s;
        next_ += duration(options_.poisson ? gap * -std::log(1 - uniform_(random_)) : gap);
      }
      while (!due_.empty() && !idle_.empty())
        send_due();
      schedule();
    });
  }

  void send_due() {
    Connection& connection = *idle_.back();
    idle_.pop_back();
    connection.intended = due_.front();
    due_.pop_front();
    send(connection);
  }

  /// Closed loop.
  void send_again(Connection& connection) {
    if (Clock::now() >= end_) return;
    connection.intended = Clock::now();
    send(connection);
  }

  /// Servers close what was idle for long.
  static bool was_closed(Connection& connection) {
    char byte = 0;
    const ssize_t came = ::recv(connection.stream.socket().native_handle(), &byte, sizeof(byte),
                                MSG_PEEK | MSG_DONTWAIT);
    return came == 0 || (came < 0 && errno != EAGAIN);
  }

  void send(Connection& connection) {
    const std::string& request = requests_[report_.sent++ % requests_.size()];
    if (connection.stream.socket().is_open() && was_closed(connection)) close(connection);
    if (connection.stream.socket().is_open()) return write(connection, request);
    connection.stream.async_connect(endpoint_, [this, &connection, &request](error_code error) {
      if (error) return fail(connection);
      set_no_delay(connection);
      write(connection, request);
    });
  }

  void write(Connection& connection, const std::string& request) {
    asio::async_write(connection.stream, asio::buffer(request),
                      [this, &connection](error_code error, std::size_t) {
                        if (error) return fail(connection);
                        read(connection);
                      });
  }

  void read(Connection& connection) {
    connection.parser.emplace();
    connection.parser->body_limit(kMostResponseBytes);
    http::async_read(connection.stream, connection.buffer, *connection.parser,
                     [this, &connection](error_code error, std::size_t) {
                       if (error) return fail(connection);
                       note(connection);
                       if (!connection.parser->get().keep_alive()) close(connection);
                       go_on(connection);
                     });
  }

  void note(const Connection& connection) {
    last_ = Clock::now();
    ++answers_;
    const double ms =
        std::chrono::duration<double, std::milli>(last_ - connection.intended).count();
    const auto& response = connection.parser->get();
    const int status = static_cast<int>(response.result_int());
    ++report_.statuses[status];
    if (status == 429) report_.refused_ms.push_back(ms);
    if (status != 200) return;
    report_.answered_ms.push_back(ms);
    ++report_.engines[std::string(response["rtai-engine"])];
  }

  static void close(Connection& connection) {
    connection.stream.close();
    connection.buffer.clear();
  }

  void fail(Connection& connection) {
    last_ = Clock::now();
    close(connection);
    // A server that is gone refuses at once: no need to ask it a million times a second.
    auto pause = std::make_shared<asio::steady_timer>(io_, std::chrono::milliseconds(10));
    pause->async_wait([this, &connection, pause](error_code) { go_on(connection); });
  }

  void go_on(Connection& connection) {
    if (options_.rate_per_s <= 0) return send_again(connection);
    idle_.push_back(&connection);
    if (!due_.empty()) send_due();
  }

  LoadOptions options_;
  asio::io_context io_{1};
  asio::steady_timer timer_;
  std::mt19937_64 random_;
  std::uniform_real_distribution<double> uniform_{0, 1};
  asio::ip::tcp::endpoint endpoint_;
  std::vector<std::string> requests_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<Connection*> idle_;
  std::deque<Clock::time_point> due_;  // intended times of requests that no connection was free for
  Clock::time_point start_, end_, next_, last_;
  std::uint64_t answers_ = 0;
  LoadReport report_;
};

}  // namespace

bool is_url(std::string_view text) {
  return text.starts_with("http://") || text.starts_with("https://");
}

Result<Url> parse_url(const std::string& text) {
  if (!text.starts_with("http://"))
    return Error{ErrorCode::unsupported, fmt::format("{}: expected http://HOST:PORT", text)};
  const std::string rest = text.substr(std::string_view("http://").size());
  const std::size_t slash = std::min(rest.find('/'), rest.size());
  const std::string place = rest.substr(0, slash);
  Url url{.text = text, .path = rest.substr(slash)};
  while (url.path.ends_with('/'))
    url.path.pop_back();
  const std::size_t bracket = place.find(']');  // [::1]:8000
  const std::size_t colon = place.find(':', bracket == std::string::npos ? 0 : bracket);
  url.host = place.substr(0, colon);
  url.port = colon == std::string::npos ? "80" : place.substr(colon + 1);
  if (url.host.starts_with('[') && url.host.ends_with(']'))
    url.host = url.host.substr(1, url.host.size() - 2);
  const auto plain = [](char c) { return c > 0x20 && c < 0x7f; };
  const bool valid = !url.host.empty() && !url.port.empty() && std::ranges::all_of(text, plain) &&
                     url.port.find_first_not_of("0123456789") == std::string::npos;
  if (!valid)
    return Error{ErrorCode::invalid_input, fmt::format("{}: expected http://HOST:PORT", text)};
  return url;
}

std::unique_ptr<HttpClient> HttpClient::make(const Url& url, const std::string& api_key) {
  return std::make_unique<BlockingClient>(url, api_key);
}

Result<LoadReport> run_load(const Url& url, const LoadOptions& options) {
  return LoadGenerator(url, options).run(url);
}

}  // namespace rtai::serve
