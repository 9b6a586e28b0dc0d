// Where libraries send what they have to say: the caller decides whether and how it is shown.
#pragma once

#include <string_view>

namespace rtai {

class Log {
 public:
  virtual ~Log() = default;

  /// A step that a user with --verbose wants to see.
  virtual void info(std::string_view message) = 0;
  /// Something the user should know although the work goes on.
  virtual void warning(std::string_view message) = 0;
  /// Progress of the step `what`: `done` of `total` units; total 0 ends it.
  virtual void progress(std::string_view what, double done, double total) = 0;
};

/// A log that says nothing.
Log& silent_log();

}  // namespace rtai
