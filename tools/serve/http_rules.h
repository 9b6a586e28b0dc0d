// What a request's head must look like, byte by byte. Boost.Beast parses it afterwards; these rules
// refuse what two servers in a row could read differently (request smuggling), and what rtai has no
// use for.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace rtai::serve {

inline constexpr std::size_t kMaxHeadBytes = 8192;
inline constexpr std::size_t kMaxHeaders = 100;

/// Why a request is refused; the connection is closed after saying so.
struct Refusal {
  int status = 400;
  std::string_view reason;
};

/// Looks at the first bytes of a head that is not complete yet: true if it can no longer become a
/// valid one (a line that ends without CR, a NUL), so that nobody waits for the rest.
bool is_hopeless(std::string_view received);

/// Checks a complete head, its empty line included. Refused are: line ends other than CR LF,
/// control characters, folded lines, anything but `METHOD /path HTTP/1.0 or 1.1`, no or several
/// Host headers, a Content-Length that is given twice or is not plain digits, any Transfer-Encoding
/// (requests carry a Content-Length), more than kMaxHeaders headers.
///
/// Source: RFC 9112, sections 2.2, 3, 5 and 6; RFC 9110, sections 5.5, 5.6.2 and 7.2.
std::optional<Refusal> check_head(std::string_view head);

}  // namespace rtai::serve
