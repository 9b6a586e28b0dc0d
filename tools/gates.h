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
  bool times_baseline = false;  // limit is a multiple of what the figure was: 1.05*baseline

  bool misses(double value, double bound) const;
};

/// What became of a gate.
struct JudgedGate {
  Gate gate;
  double value = 0;
  double limit = 0;
  bool is_missed = false;

  /// "p99_ms>5: 7.31", and the limit if it came from a baseline.
  std::string line() const;
};

/// Errors: invalid_input, saying what was expected.
Result<Gate> parse_gate(const std::string& text);
Result<std::vector<Gate>> parse_gates(const std::vector<std::string>& texts);

/// Judges every gate; `baseline` has the figures of what is compared with.
///
/// Errors: invalid_input if a gate speaks of a figure that is not there, naming those that are, or
/// of a baseline that is not there.
Result<std::vector<JudgedGate>> judge_gates(const std::vector<Gate>& gates,
                                            const Figures& figures,
                                            const Figures& baseline = {});

/// The gates that are missed, as lines for the user. Errors: as judge_gates.
Result<std::vector<std::string>> missed_gates(const std::vector<Gate>& gates,
                                              const Figures& figures);

}  // namespace rtai::tools
