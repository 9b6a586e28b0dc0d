#include "tools/report/table.h"

#include "runtime/text/utf8.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace rtai::tools {

/// Columns line up with names of any script: a character has one place.
std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max<std::size_t>(widths[i], text::count_characters(row[i]));
  }
  std::string whole;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (std::size_t i = 0; i < rows_[r].size(); ++i) {
      const std::string padding(widths[i] - text::count_characters(rows_[r][i]), ' ');
      if (i > 0) line += "  ";
      line += i == 0 ? rows_[r][i] + padding : padding + rows_[r][i];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    whole += line + "\n";
    if (r > 0) continue;
    std::size_t total = 2 * (widths.size() - 1);
    for (const std::size_t width : widths)
      total += width;
    whole += std::string(total, '-') + "\n";
  }
  return whole;
}

std::string human_bytes(double bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "kB", "MB", "GB", "TB"};
  std::size_t unit = 0;
  while (bytes >= 999.5 && unit + 1 < kUnits.size()) {
    bytes /= 1000;
    ++unit;
  }
  if (unit == 0) return fmt::format("{:.0f} B", bytes);
  return fmt::format("{:.{}f} {}", bytes,
                     bytes >= 99.95   ? 0
                     : bytes >= 9.995 ? 1
                                      : 2,
                     kUnits[unit]);
}

std::string human_ms(double milliseconds) {
  if (milliseconds < 0.9995) return fmt::format("{:.0f} us", milliseconds * 1e3);
  return fmt::format("{:.{}f} ms", milliseconds,
                     milliseconds >= 99.95   ? 0
                     : milliseconds >= 9.995 ? 1
                                             : 2);
}

}  // namespace rtai::tools
