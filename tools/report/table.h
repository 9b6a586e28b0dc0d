// Tables as people read them in a terminal.
#pragma once

#include <string>
#include <vector>

namespace rtai::tools {

/// Columns are as wide as their widest cell. The first column is flush left, the others right.
class Table {
 public:
  explicit Table(std::vector<std::string> head) { rows_.push_back(std::move(head)); }

  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }

  /// Lines ending in '\n'; the head is followed by a rule.
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// "22.7 MB": three significant digits and a decimal unit.
std::string human_bytes(double bytes);

/// "3.21 ms", "417 us".
std::string human_ms(double milliseconds);

}  // namespace rtai::tools
