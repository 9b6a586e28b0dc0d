// HTTP messages as the rest of the server sees them.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace rtai::serve {

using Clock = std::chrono::steady_clock;

inline double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}
using Headers = std::vector<std::pair<std::string, std::string>>;

/// The value of the header `name` (any case), or an empty text.
std::string_view header(const Headers& headers, std::string_view name);

struct HttpRequest {
  std::string method;
  std::string path;  // without the query
  Headers headers;
  std::string body;
  Clock::time_point arrival;  // when its last byte was there
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  Headers headers = {};
  std::string body = {};
};

/// Sends the response of one request: to be called once, from any thread.
using Respond = std::function<void(HttpResponse)>;
using HttpHandler = std::function<void(HttpRequest, Respond)>;

}  // namespace rtai::serve
