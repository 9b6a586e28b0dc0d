// What can fail returns Result<T>: a value, or an Error that a user can act on.
#pragma once

#include <tl/expected.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace rtai {

/// Why something failed. The command line maps each to an exit code (docs/house-style.md, section
/// 8).
enum class ErrorCode : std::uint8_t {
  internal,       // a defect in rtai; the message asks for a report
  invalid_input,  // a file or value that is not what it should be
  not_found,      // a file that does not exist
  io,             // the operating system refused to read or write
  unsupported,    // valid, but rtai cannot do it
  corrupt,        // an engine file that is damaged or was changed
  device,         // no such device, or it failed; out of memory
  gate,           // a threshold that the user set was missed
};

/// One line for the user: where, what was expected, what was found. Lower case, no full stop.
class Error {
 public:
  Error(ErrorCode code, std::string message) : code_(code), message_(std::move(message)) {}

  ErrorCode code() const { return code_; }
  const std::string& message() const { return message_; }

  /// The same error with `place` in front: "node 'x'" turns "bad axis" into "node 'x': bad axis".
  Error in(std::string_view place) const { return {code_, std::string(place) + ": " + message_}; }

 private:
  ErrorCode code_;
  std::string message_;
};

/// The two errors that readers of files and options return most.
inline Error invalid_input(std::string message) {
  return {ErrorCode::invalid_input, std::move(message)};
}
inline Error unsupported(std::string message) {
  return {ErrorCode::unsupported, std::move(message)};
}

template <class T>
class [[nodiscard]] Result : public tl::expected<T, Error> {
 public:
  using tl::expected<T, Error>::expected;
  Result(Error error)  // NOLINT(google-explicit-constructor): `return Error{...};` reads best
      : tl::expected<T, Error>(tl::unexpect, std::move(error)) {}

  /// Adds `place` to the error, if there is one.
  Result in(std::string_view place) && {
    if (this->has_value()) return std::move(*this);
    return Result(this->error().in(place));
  }
};

}  // namespace rtai

#define RTAI_CONCAT_IMPL(a, b) a##b
#define RTAI_CONCAT(a, b) RTAI_CONCAT_IMPL(a, b)
#define RTAI_TRY_IMPL(result, declaration, ...)  \
  auto result = (__VA_ARGS__);                   \
  if (!result) return std::move(result).error(); \
  declaration = *std::move(result)

/// `RTAI_TRY(const Graph graph, import(path));` declares `graph`, or returns the error.
#define RTAI_TRY(declaration, ...) \
  RTAI_TRY_IMPL(RTAI_CONCAT(rtai_result_, __LINE__), declaration, __VA_ARGS__)

/// `RTAI_TRY_VOID(verify(graph));` goes on, or returns the error.
#define RTAI_TRY_VOID(...)                                          \
  do {                                                              \
    if (auto rtai_result_void = (__VA_ARGS__); !rtai_result_void) { \
      return std::move(rtai_result_void).error();                   \
    }                                                               \
  } while (false)
