#include "tools/csv.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

constexpr std::size_t kMostFields = 1024;

bool is_blank(const CsvRecord& record) {
  return record.fields.size() == 1 &&
         record.fields.front().find_first_not_of(" \t") == std::string::npos;
}

}  // namespace

CsvReader::CsvReader(std::string_view content, CsvFormat format)
    : rest_(content), format_(format), separator_(format == CsvFormat::csv ? "," : "\t") {
  constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
  skip(kByteOrderMark);
}

Result<std::optional<CsvRecord>> CsvReader::next() {
  while (!rest_.empty()) {
    CsvRecord record{.line = line_, .fields = {}};
    do {
      if (record.fields.size() == kMostFields) {
        return invalid_input(
            fmt::format("line {}: more than {} columns", record.line, kMostFields));
      }
      RTAI_TRY(std::string one, field());
      record.fields.push_back(std::move(one));
    } while (skip(separator_));
    if (skip("\r\n") || skip("\n")) ++line_;
    if (!is_blank(record)) return std::optional(std::move(record));
  }
  return std::optional<CsvRecord>();
}

Result<std::string> CsvReader::field() {
  if (format_ == CsvFormat::csv && skip("\"")) return quoted_field();
  return plain_field();
}

Result<std::string> CsvReader::quoted_field() {
  const std::size_t opened = line_;
  std::string content;
  while (true) {
    const std::size_t quote = rest_.find('"');
    if (quote == std::string_view::npos)
      return invalid_input(fmt::format("line {}: a quote is opened and never closed", opened));
    content += rest_.substr(0, quote);
    rest_.remove_prefix(quote + 1);
    if (!skip("\"")) break;
    content += '"';
  }
  line_ += static_cast<std::size_t>(std::ranges::count(content, '\n'));
  const bool is_last = rest_.empty() || rest_.starts_with('\n') || rest_.starts_with("\r\n");
  if (!is_last && !rest_.starts_with(separator_)) {
    return invalid_input(
        fmt::format("line {}: expected a comma or the end of the line after a closing quote; "
                    "quotes within a quoted field are doubled",
                    line_));
  }
  return content;
}

std::string CsvReader::plain_field() {
  const std::size_t line_end = std::min(rest_.find('\n'), rest_.size());
  const std::size_t end = std::min(rest_.substr(0, line_end).find(separator_), line_end);
  std::string content(rest_.substr(0, end));
  rest_.remove_prefix(end);
  if (end == line_end && content.ends_with('\r')) content.pop_back();
  return content;
}

bool CsvReader::skip(std::string_view wanted) {
  if (!rest_.starts_with(wanted)) return false;
  rest_.remove_prefix(wanted.size());
  return true;
}

}  // namespace rtai::tools
