#include "libopt/pass/options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace rtai::internal {

Result<double> parse_number(std::string_view option,
                            std::string_view text,
                            Range range,
                            bool whole) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, status] = std::from_chars(text.data(), end, value);
  const bool valid = status == std::errc{} && stop == end && std::isfinite(value) &&
                     (!whole || value == std::floor(value));
  if (!valid || value < range.low || value > range.high) {
    return Error{ErrorCode::invalid_input,
                 fmt::format("option '{}': expected a {} in [{}, {}], found '{}'", option,
                             whole ? "whole number" : "number", range.low, range.high, text)};
  }
  return value;
}

Result<bool> parse_bool(std::string_view option, std::string_view text) {
  if (text == "true") return true;
  if (text == "false") return false;
  return Error{ErrorCode::invalid_input,
               fmt::format("option '{}': expected true or false, found '{}'", option, text)};
}

Error unknown_option(std::string_view name, const std::vector<std::string_view>& known) {
  return {ErrorCode::invalid_input,
          known.empty()
              ? fmt::format("unknown option '{}': there are none", name)
              : fmt::format("unknown option '{}'; known: {}", name, fmt::join(known, ", "))};
}

std::string print_option(double value) {
  return fmt::format("{}", value);
}

}  // namespace rtai::internal
