// rtai: makes BERT-class models answer in milliseconds.
#include "runtime/base/atomic_write.h"
#include "tools/cli.h"
#include "tools/cmd_serve.h"
#include "tools/cmd_shell.h"
#include "tools/command_line.h"
#include "tools/memory_reserve.h"
#include "tools/version.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>
#include <system_error>

namespace rtai::tools {
namespace {

void on_interrupt(int signal) {
  discard_unfinished_writes();
  ::_exit(128 + signal);
}

/// Another program has cut off pages of a file that is mapped here. What was read is gone, so there
/// is nothing to go on with; writers that replace a file by renaming do not cause this.
void on_lost_pages(int) {
  discard_unfinished_writes();
  constexpr std::string_view kMessage =
      "rtai: a file was cut short by another program while rtai was reading it\n";
  const ssize_t written = ::write(STDERR_FILENO, kMessage.data(), kMessage.size());
  ::_exit(written < 0 ? 1 : exit_code(ErrorCode::corrupt));
}

constexpr const char* kOutOfMemory = "rtai: out of memory\n";  // said without needing any

/// Where no exception gets past. JSON values need memory to be destroyed, and have none while one
/// tells of that.
[[noreturn]] void on_terminate() {
  discard_unfinished_writes();
  try {
    if (std::current_exception()) throw;
  } catch (const std::bad_alloc&) {
    std::fputs(kOutOfMemory, stderr);
    ::_exit(exit_code(ErrorCode::device));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "rtai: %s\n", error.what());
  }
  std::abort();
}

int report(const Error& error) {
  std::fputs(fmt::format("rtai: {}\n", error.message()).c_str(), stderr);
  if (error.code() == ErrorCode::internal) {
    std::fputs("rtai: this is a defect in rtai; please report it with the command that showed it\n",
               stderr);
  }
  return exit_code(error.code());
}

int run(int argc, char** argv) {
  CLI::App app{"Makes BERT-class models answer in milliseconds: prune, quantize, run and measure."};
  app.name("rtai");
  app.set_version_flag("--version", std::string(version()));
  app.require_subcommand(1);
  app.fallthrough();
  app.get_formatter()->column_width(34);

  GlobalFlags flags;
  app.add_flag("--quiet", flags.quiet, "Print results only");
  app.add_flag("--verbose", flags.verbose, "Print every step");
  app.add_option("--seed", flags.seed, "Seed of everything random")->capture_default_str();
  app.add_option("--color", flags.color, "Colours: auto, always or never")
      ->check(CLI::IsMember({"auto", "always", "never"}))
      ->capture_default_str();

  Action chosen;
  Commands commands{app, flags, chosen};
  add_prune(commands);
  add_prune_vocab(commands);
  add_quantize(commands);
  add_optimize(commands);
  add_compile(commands);
  add_bench(commands);
  add_run(commands);
  add_serve(commands);
  add_eval(commands);
  add_compare(commands);
  add_inspect(commands);
  add_verify(commands);
  add_devices(commands);
  add_passes(commands);
  add_init(commands);
  add_completion(commands);
  add_man(commands);

  std::string config;  // replaced before parsing; here for --help
  app.add_option("--config", config, "JSON file with flags: {\"seq\": 64, \"quiet\": true}");
  const Result<std::vector<std::string>> words = expand_config({argv + 1, argv + argc});
  if (!words) return report(words.error());
  try {
    app.parse(std::vector<std::string>(words->rbegin(), words->rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    std::fputs(fmt::format("rtai: {}\n", explain(app, error, *words)).c_str(), stderr);
    return 2;
  }

  TerminalLog log(flags);
  const Result<int> result = chosen(log);
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) {
    if (errno == EPIPE) return result ? *result : report(result.error());  // `| head` has enough
    return report({ErrorCode::io, "standard output cannot be written"});
  }
  return result ? *result : report(result.error());
}

}  // namespace
}  // namespace rtai::tools

int main(int argc, char** argv) {
#ifdef __GLIBC__
  // Weights that were freed go back to the system at once: by default glibc keeps blocks below 32
  // MiB after it has seen such a one freed, and a model's weights are that small.
  ::mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
  const rlimit no_core = {0, 0};  // it would hold texts
  ::setrlimit(RLIMIT_CORE, &no_core);
  std::set_terminate(&rtai::tools::on_terminate);
  rtai::tools::hold_memory_reserve();
  std::signal(SIGINT, &rtai::tools::on_interrupt);
  std::signal(SIGTERM, &rtai::tools::on_interrupt);
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGBUS, &rtai::tools::on_lost_pages);
  try {
    return rtai::tools::run(argc, argv);
  } catch (const std::bad_alloc&) {
    std::fputs(rtai::tools::kOutOfMemory, stderr);
    return rtai::tools::exit_code(rtai::ErrorCode::device);
  } catch (const std::system_error& error) {
    const bool is_thread = error.code() == std::errc::resource_unavailable_try_again;
    return rtai::tools::report(
        is_thread ? rtai::Error{rtai::ErrorCode::device, "the system gives no more threads"}
                  : rtai::Error{rtai::ErrorCode::internal, error.what()});
  } catch (const std::exception& error) {
    return rtai::tools::report({rtai::ErrorCode::internal, error.what()});
  }
}
