#include "tools/flag_values.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cmath>
#include <map>
#include <string>

namespace rtai::tools {

CLI::Validator above_zero() {
  const auto complaint = [](const std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && std::isfinite(value) && value > 0) return {};
    return fmt::format("expected a number above 0, found {}", text);
  };
  return CLI::Validator(complaint, "ABOVE 0", "above_zero");
}

CLI::Validator as_milliseconds() {
  return CLI::AsNumberWithUnit(std::map<std::string, double>{{"us", 1e-3}, {"ms", 1}, {"s", 1e3}});
}

CLI::Validator as_seconds() {
  return CLI::AsNumberWithUnit(std::map<std::string, double>{{"ms", 1e-3}, {"s", 1}, {"min", 60}});
}

CLI::Validator as_count() {
  return CLI::AsNumberWithUnit(std::map<std::string, double>{{"K", 1e3}, {"M", 1e6}, {"G", 1e9}});
}

}  // namespace rtai::tools
