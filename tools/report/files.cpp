#include "tools/report/files.h"

#include "runtime/base/atomic_write.h"
#include "runtime/base/mapped_file.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>

namespace rtai::tools {
namespace {

Result<void> append_text(const std::string& path, const std::string& text) {
  std::string whole;
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored)) {
    RTAI_TRY(const MappedFile file, MappedFile::open(path));
    whole = file.text();
  }
  return write_file_atomically(path, whole + text);
}

}  // namespace

void ReportFlags::add_to(CLI::App& command) {
  const std::string group = "Reports";
  command.add_option("--html", html, "Write a page for people: one file, needs no network")
      ->type_name(kWrittenFile)
      ->group(group);
  command
      .add_option("--markdown", markdown, "Add a summary to this file, as \"$GITHUB_STEP_SUMMARY\"")
      ->type_name(kWrittenFile)
      ->group(group);
  command.add_option("--junit", junit, "Write the gates as JUnit XML, a test case each")
      ->type_name(kWrittenFile)
      ->group(group);
}

Result<void> write_reports(const ReportFlags& flags, const ReportMakers& makers) {
  if (flags.html) RTAI_TRY_VOID(write_file_atomically(*flags.html, makers.html()));
  if (flags.markdown) RTAI_TRY_VOID(append_text(*flags.markdown, makers.markdown()));
  if (flags.junit) RTAI_TRY_VOID(write_file_atomically(*flags.junit, makers.junit()));
  return {};
}

}  // namespace rtai::tools
