// Records of .csv and .tsv files.
#pragma once

#include "runtime/base/result.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

enum class CsvFormat : std::uint8_t {
  csv,  // commas; a field in quotes may hold commas, lines and doubled quotes
  tsv,  // tabs; quotes are characters like any other
};

struct CsvRecord {
  std::size_t line = 0;  // where it begins, from 1 on
  std::vector<std::string> fields;
};

/// Reads one record after the other. Lines end in LF or CRLF, the last one also without; empty
/// lines are left out, and so is a byte order mark.
///
/// Source: RFC 4180; quotes inside a field that does not begin with one are taken as they stand.
class CsvReader {
 public:
  /// `content` outlives the reader.
  CsvReader(std::string_view content, CsvFormat format);

  /// Nothing at the end.
  ///
  /// Errors: invalid_input with the line, for a quote that is never closed, text after a closing
  /// one, or more than 1024 fields.
  Result<std::optional<CsvRecord>> next();

 private:
  Result<std::string> field();
  Result<std::string> quoted_field();
  std::string plain_field();
  /// True, and past it, if this is what comes next.
  bool skip(std::string_view wanted);

  std::string_view rest_;
  CsvFormat format_;
  std::string_view separator_;
  std::size_t line_ = 1;
};

}  // namespace rtai::tools
