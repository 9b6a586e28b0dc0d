// The client's side of HTTP: one request after the other, or a load of many connections.
#pragma once

#include "runtime/base/result.h"
#include "tools/serve/http_message.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::serve {

struct Url {
  std::string text;  // as it was given
  std::string host = {};
  std::string port = {};
  std::string path;  // in front of every endpoint; usually empty
};

/// True for what begins like a URL, valid or not.
bool is_url(std::string_view text);
/// Errors: invalid_input; unsupported for https.
Result<Url> parse_url(const std::string& text);

/// One connection, made when it is needed and kept. Blocking.
class HttpClient {
 public:
  static std::unique_ptr<HttpClient> make(const Url& url, const std::string& api_key);
  virtual ~HttpClient() = default;

  /// Errors: io if the server cannot be reached or does not answer.
  virtual Result<HttpResponse> post(const std::string& path, const std::string& body) = 0;
};

struct LoadOptions {
  double rate_per_s = 0;  // 0: closed loop, every connection sends when its answer is there
  bool poisson = false;   // random gaps between requests instead of even ones
  double duration_s = 10;
  int connections = 64;
  std::uint64_t seed = 0;
  std::string path;  // of the endpoint
  std::string api_key = {};
  std::vector<std::string> bodies = {};  // sent in turn
};

/// Latency counts from when a request should have been sent, so that one that waited in the client
/// because the server was slow counts in full (no coordinated omission).
struct LoadReport {
  double seconds = 0;
  std::uint64_t sent = 0;
  std::vector<double> answered_ms;               // status 200
  std::vector<double> refused_ms;                // status 429
  std::map<int, std::uint64_t> statuses;         // all
  std::map<std::string, std::uint64_t> engines;  // that answered
  std::uint64_t failed = 0;                      // no whole response came
};

/// Errors: io if the server cannot be reached at all.
Result<LoadReport> run_load(const Url& url, const LoadOptions& options);

}  // namespace rtai::serve
