// Where reports for people and for CI servers go: --html, --markdown, --junit.
#pragma once

#include "runtime/base/result.h"

#include <functional>
#include <optional>
#include <string>

namespace CLI {
class App;
}  // namespace CLI

namespace rtai::tools {

struct ReportFlags {
  std::optional<std::string> html;
  std::optional<std::string> markdown;
  std::optional<std::string> junit;

  void add_to(CLI::App& command);
};

/// How a report is made, when it is asked for.
struct ReportMakers {
  std::function<std::string()> html;
  std::function<std::string()> markdown;
  std::function<std::string()> junit;
};

/// Writes the files that were asked for, whole or not at all. Markdown is added to what the file
/// holds, as $GITHUB_STEP_SUMMARY and several commands in a row want it.
///
/// Errors: io.
Result<void> write_reports(const ReportFlags& flags, const ReportMakers& makers);

}  // namespace rtai::tools
