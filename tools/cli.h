// What all commands share: global flags, where output goes, how results become exit codes.
#pragma once

#include "runtime/base/log.h"
#include "runtime/base/result.h"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}  // namespace CLI

namespace rtai::tools {

/// Flags that every command has.
struct GlobalFlags {
  bool quiet = false;
  bool verbose = false;
  std::uint64_t seed = 0;
  std::string color = "auto";  // auto, always, never
};

/// Exit codes of docs/cli: 0 done, 2 wrong flags, the rest by ErrorCode.
int exit_code(ErrorCode code);

/// Writes messages and progress to standard error: progress only on a terminal and when it takes
/// longer than a moment, information only with --verbose.
class TerminalLog final : public Log {
 public:
  explicit TerminalLog(const GlobalFlags& flags);
  ~TerminalLog() override;

  void info(std::string_view message) override;
  void warning(std::string_view message) override;
  void progress(std::string_view what, double done, double total) override;

 private:
  void clear_line();

  const GlobalFlags& flags_;
  bool terminal_;
  bool line_open_ = false;
  std::string current_;  // what progress speaks of
  double started_ = 0;   // seconds, of current_
  double shown_ = 0;
};

/// A command that was chosen on the command line. Its answer is the exit code of success: 0, or 7
/// when a gate was missed.
using Action = std::function<Result<int>(Log& log)>;

/// Where commands put themselves: each add_... function registers one with its flags.
struct Commands {
  CLI::App& app;
  GlobalFlags& flags;
  Action& chosen;  // set by CLI11's callback of the command that was given
};

void add_bench(Commands& commands);
void add_compare(Commands& commands);
void add_compile(Commands& commands);
void add_devices(Commands& commands);
void add_eval(Commands& commands);
void add_inspect(Commands& commands);
void add_optimize(Commands& commands);
void add_passes(Commands& commands);
void add_prune(Commands& commands);
void add_prune_vocab(Commands& commands);
void add_quantize(Commands& commands);
void add_run(Commands& commands);
void add_verify(Commands& commands);

/// True if standard output should carry colours.
bool use_color(const GlobalFlags& flags);

/// Prints `text` to standard output, unless --quiet was given.
void print(const GlobalFlags& flags, std::string_view text);

}  // namespace rtai::tools
