#include "tools/gates.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace rtai::tools {
namespace {

std::string_view without_blanks(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(' ');
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(' ') - begin + 1);
}

}  // namespace

bool Gate::misses(double value, double bound) const {
  if (std::isnan(value)) return true;  // a figure that could not be had passes no gate
  if (comparison == "<") return value < bound;
  if (comparison == "<=") return value <= bound;
  if (comparison == ">") return value > bound;
  return value >= bound;
}

std::string JudgedGate::line() const {
  std::string line = fmt::format("{}: {:.6g}", gate.text, value);
  if (gate.times_baseline) line += fmt::format(", at the limit of {:.6g}", limit);
  return line;
}

Result<Gate> parse_gate(const std::string& text) {
  const Error error{
      ErrorCode::invalid_input,
      fmt::format("--fail-if '{}': expected FIGURE<NUMBER or FIGURE>NUMBER, as in 'p99_ms>5' or "
                  "'p50_ms>1.05*baseline'",
                  text)};
  const std::size_t at = text.find_first_of("<>");
  if (at == std::string::npos || at == 0) return error;
  Gate gate{.text = text,
            .figure = std::string(without_blanks(std::string_view(text).substr(0, at))),
            .comparison = text.substr(at, text.compare(at + 1, 1, "=") == 0 ? 2 : 1)};
  std::string_view number = without_blanks(std::string_view(text).substr(at + gate.comparison.size()));
  constexpr std::string_view kBaseline = "baseline";
  if (number.ends_with(kBaseline)) {
    gate.times_baseline = true;
    number = without_blanks(number.substr(0, number.size() - kBaseline.size()));
    if (number.empty()) {
      number = "1";
    } else if (number.ends_with('*')) {
      number = without_blanks(number.substr(0, number.size() - 1));
    } else {
      return error;
    }
  }
  const char* end = number.data() + number.size();
  const auto [stop, status] = std::from_chars(number.data(), end, gate.limit);
  if (status != std::errc{} || stop != end || !std::isfinite(gate.limit) || gate.figure.empty())
    return error;
  return gate;
}

Result<std::vector<Gate>> parse_gates(const std::vector<std::string>& texts) {
  std::vector<Gate> gates;
  for (const std::string& text : texts) {
    RTAI_TRY(Gate gate, parse_gate(text));
    gates.push_back(std::move(gate));
  }
  return gates;
}

Result<std::vector<JudgedGate>> judge_gates(const std::vector<Gate>& gates,
                                            const Figures& figures,
                                            const Figures& baseline) {
  std::vector<JudgedGate> judged;
  for (const Gate& gate : gates) {
    const auto found = figures.find(gate.figure);
    if (found == figures.end()) {
      std::vector<std::string> known;
      for (const auto& [name, value] : figures)
        known.push_back(name);
      return Error{ErrorCode::invalid_input,
                   fmt::format("--fail-if '{}': unknown figure '{}'; known: {}", gate.text,
                               gate.figure, fmt::join(known, ", "))};
    }
    double limit = gate.limit;
    if (gate.times_baseline) {
      const auto before = baseline.find(gate.figure);
      if (before == baseline.end())
        return Error{
            ErrorCode::invalid_input,
            fmt::format("--fail-if '{}': there is no baseline with this figure", gate.text)};
      limit *= before->second;
    }
    judged.push_back({gate, found->second, limit, gate.misses(found->second, limit)});
  }
  return judged;
}

Result<std::vector<std::string>> missed_gates(const std::vector<Gate>& gates,
                                              const Figures& figures) {
  RTAI_TRY(const std::vector<JudgedGate> judged, judge_gates(gates, figures));
  std::vector<std::string> missed;
  for (const JudgedGate& one : judged) {
    if (one.is_missed) missed.push_back(one.line());
  }
  return missed;
}

}  // namespace rtai::tools
