// --fail-if 'p99_ms>5': thresholds that turn a figure into an exit code.
#pragma once

#include "runtime/base/result.h"

#include <map>
#include <string>
#include <vector>

namespace rtai::tools {

/// Figures that gates can speak of, by name: "p99_ms", "accuracy".
using Figures = std::map<std::string, double>;

/// One threshold: it is missed when `figure comparison limit` is true.
struct Gate {
  std::string text;  // as it was written
  std::string figure;
  std::string comparison;  // <, <=, >, >=
  double limit = 0;

  bool misses(double value) const;
};

/// Errors: invalid_input, saying what was expected.
Result<Gate> parse_gate(const std::string& text);
Result<std::vector<Gate>> parse_gates(const std::vector<std::string>& texts);

/// The gates that are missed, as lines for the user: "p99_ms>5: 7.31".
///
/// Errors: invalid_input if a gate speaks of a figure that is not there, naming those that are.
Result<std::vector<std::string>> missed_gates(const std::vector<Gate>& gates,
                                              const Figures& figures);

}  // namespace rtai::tools
