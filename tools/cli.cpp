#include "tools/cli.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>

namespace rtai::tools {
namespace {

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string short_time(double seconds) {
  if (seconds < 90) return fmt::format("{:.0f} s", seconds);
  return fmt::format("{:.0f} min", seconds / 60);
}

constexpr double kSilentSeconds = 2.0;  // nothing is shown of what takes less
constexpr double kRefreshSeconds = 0.2;

}  // namespace

int exit_code(ErrorCode code) {
  switch (code) {
    case ErrorCode::internal:
      return 1;
    case ErrorCode::invalid_input:
    case ErrorCode::not_found:
    case ErrorCode::io:
      return 3;
    case ErrorCode::unsupported:
      return 4;
    case ErrorCode::corrupt:
      return 5;
    case ErrorCode::device:
      return 6;
    case ErrorCode::gate:
      return 7;
  }
  return 1;
}

TerminalLog::TerminalLog(const GlobalFlags& flags)
    : flags_(flags), terminal_(::isatty(STDERR_FILENO) != 0) {}

TerminalLog::~TerminalLog() {
  clear_line();
}

void TerminalLog::clear_line() {
  if (!line_open_) return;
  std::fputs("\r\033[K", stderr);
  line_open_ = false;
}

void TerminalLog::info(std::string_view message) {
  if (!flags_.verbose) return;
  clear_line();
  std::fputs(fmt::format("{}\n", message).c_str(), stderr);
}

void TerminalLog::warning(std::string_view message) {
  if (flags_.quiet) return;
  clear_line();
  std::fputs(fmt::format("warning: {}\n", message).c_str(), stderr);
}

void TerminalLog::progress(std::string_view what, double done, double total) {
  if (!terminal_ || flags_.quiet) return;
  const double now = seconds_now();
  if (total <= 0) return clear_line();
  if (what != current_) {
    current_ = what;
    started_ = now;
  }
  const double spent = now - started_;
  if (spent < kSilentSeconds || now - shown_ < kRefreshSeconds) return;
  shown_ = now;
  const double left = done > 0 ? spent * (total - done) / done : 0;
  const std::string line =
      fmt::format("\r\033[K{} {:.0f} %, {} left", what, 100 * done / total, short_time(left));
  std::fputs(line.c_str(), stderr);
  line_open_ = true;
}

bool use_color(const GlobalFlags& flags) {
  if (flags.color == "always") return true;
  if (flags.color == "never") return false;
  const char* no_color = std::getenv("NO_COLOR");
  if (no_color != nullptr && *no_color != '\0') return false;
  const char* term = std::getenv("TERM");
  if (term != nullptr && std::string_view(term) == "dumb") return false;
  return ::isatty(STDOUT_FILENO) != 0;
}

void print(const GlobalFlags& flags, std::string_view text) {
  if (flags.quiet) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
}

}  // namespace rtai::tools
