#include "tools/serve/http_rules.h"

#include "tools/serve/http_message.h"

#include <algorithm>

namespace rtai::serve {
namespace {

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  return std::ranges::equal(a, b, {}, lower, lower);
}

/// A character of a method or of a header's name.
bool is_token(char c) {
  return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool is_token(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return is_token(c); });
}

/// No control characters but the tab; bytes above ASCII may stand in values.
bool is_value(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7f) || c == '\t';
  });
}

std::string_view trim(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

std::optional<Refusal> check_request_line(std::string_view line) {
  const std::size_t first = line.find(' ');
  const std::size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last)
    return Refusal{400, "expected METHOD /path HTTP/1.1"};
  const std::string_view method = line.substr(0, first);
  const std::string_view target = line.substr(first + 1, last - first - 1);
  const std::string_view version = line.substr(last + 1);
  if (!is_token(method) || method.size() > 16) return Refusal{400, "bad method"};
  const bool printable =
      std::ranges::all_of(target, [](char c) { return c > 0x20 && c < 0x7f && c != '#'; });
  if (!target.starts_with('/') || !printable) return Refusal{400, "bad request target"};
  if (version == "HTTP/1.1" || version == "HTTP/1.0") return std::nullopt;
  const bool other = version.size() == 8 && version.starts_with("HTTP/") && is_digit(version[5]) &&
                     version[6] == '.' && is_digit(version[7]);
  if (other) return Refusal{505, "expected HTTP/1.1"};
  return Refusal{400, "bad HTTP version"};
}

std::optional<Refusal> check_length(std::string_view value) {
  constexpr std::size_t kMostDigits = 15;
  if (value.empty() || !std::ranges::all_of(value, is_digit))
    return Refusal{400, "bad Content-Length"};
  if (value.size() > kMostDigits) return Refusal{413, "body too large"};
  return std::nullopt;
}

bool is_host(std::string_view value) {
  return std::ranges::all_of(value, [](char c) {
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') ||
           std::string_view("-._~!$&'()*+;=:[]%").find(c) != std::string_view::npos;
  });
}

/// What must not come twice, and what decides where the body ends.
struct Framing {
  int hosts = 0;
  int lengths = 0;
  int encodings = 0;

  std::optional<Refusal> add(std::string_view name, std::string_view value) {
    if (equal_ignoring_case(name, "host")) {
      if (++hosts > 1 || !is_host(value)) return Refusal{400, "bad Host"};
    }
    if (equal_ignoring_case(name, "transfer-encoding")) ++encodings;
    if (equal_ignoring_case(name, "content-length")) {
      if (++lengths > 1) return Refusal{400, "more than one Content-Length"};
      return check_length(value);
    }
    if (equal_ignoring_case(name, "expect") && !equal_ignoring_case(value, "100-continue"))
      return Refusal{417, "expected 100-continue"};
    return std::nullopt;
  }

  std::optional<Refusal> check(bool is_http_1_0) const {
    if (hosts == 0 && !is_http_1_0) return Refusal{400, "no Host"};
    if (encodings == 0) return std::nullopt;
    if (lengths > 0 || encodings > 1 || is_http_1_0)
      return Refusal{400, "contradictory message length"};
    return Refusal{411, "expected a Content-Length, not a Transfer-Encoding"};
  }
};

}  // namespace

std::string_view header(const Headers& headers, std::string_view name) {
  for (const auto& [key, value] : headers) {
    if (equal_ignoring_case(key, name)) return value;
  }
  return {};
}

bool is_hopeless(std::string_view received) {
  if (!received.empty() && !is_token(received.front())) return true;
  for (std::size_t i = 0; i < received.size(); ++i) {
    if (received[i] == '\0') return true;
    if (received[i] == '\n' && (i == 0 || received[i - 1] != '\r')) return true;
    if (received[i] == '\r' && i + 1 < received.size() && received[i + 1] != '\n') return true;
  }
  return false;
}

std::optional<Refusal> check_head(std::string_view head) {
  if (is_hopeless(head) || !head.ends_with("\r\n\r\n"))
    return Refusal{400, "expected lines that end in CR LF"};
  std::string_view rest = head.substr(0, head.size() - 2);  // whole lines alone
  const auto next_line = [&rest] {
    const std::size_t end = rest.find("\r\n");
    const std::string_view line = rest.substr(0, end);
    rest.remove_prefix(end + 2);
    return line;
  };
  const std::string_view request_line = next_line();
  if (const auto refusal = check_request_line(request_line)) return refusal;

  Framing framing;
  std::size_t count = 0;
  while (!rest.empty()) {
    const std::string_view line = next_line();
    if (++count > kMaxHeaders) return Refusal{431, "too many headers"};
    const std::size_t colon = line.find(':');
    if (colon == std::string_view::npos || !is_token(line.substr(0, colon)))
      return Refusal{400, "bad header name"};  // folded lines begin with a space and end here too
    const std::string_view value = line.substr(colon + 1);
    if (!is_value(value)) return Refusal{400, "bad header value"};
    if (const auto refusal = framing.add(line.substr(0, colon), trim(value))) return refusal;
  }
  return framing.check(request_line.ends_with("HTTP/1.0"));
}

}  // namespace rtai::serve
