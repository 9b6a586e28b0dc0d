#include "tools/program.h"

#include "runtime/cuda/backend.h"
#include "runtime/kernels/target.h"
#include "tools/cli.h"
#include "tools/cli_description.h"
#include "tools/cmd_serve.h"
#include "tools/cmd_shell.h"
#include "tools/command_line.h"
#include "tools/json.h"
#include "tools/version.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace rtai::tools {

namespace {

class HelpFormatter : public CLI::FormatterBase {
 public:
  std::string make_help(const CLI::App* app, std::string, CLI::AppFormatMode) const override {
    const CLI::App* program = app->get_parent() == nullptr ? app : app->get_parent();
    return help_text(describe(*program), program == app ? "" : app->get_name());
  }
};

/// True if nobody reads standard output any more: `| head` has enough.
bool is_output_unread() {
  pollfd output{.fd = STDOUT_FILENO, .events = POLLOUT, .revents = 0};
  return ::poll(&output, 1, 0) == 1 && (output.revents & (POLLERR | POLLHUP)) != 0;
}

/// The code to end with, once all that was printed has gone out.
int finish_output(int code) {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
  if (is_output_unread()) return code;
  return report({ErrorCode::io, "standard output cannot be written"});
}

/// Whoever reads a CI log does not see which names a file gave.
Error with_origin(Error error, const std::string& config, std::span<char*> words) {
  const bool was_typed = std::ranges::any_of(words, [&](std::string_view word) {
    return !word.empty() && error.message().starts_with(word);
  });
  if (error.code() != ErrorCode::not_found || config.empty() || was_typed) return error;
  return {ErrorCode::not_found,
          fmt::format("{} (names in {} begin where the command is run)", error.message(), config)};
}

/// What a report of a defect should begin with.
std::string version_text() {
  std::string text = fmt::format("rtai {}", version());
  if (!commit().empty()) text += fmt::format(" ({})", commit());
  text += fmt::format("\ncpu  {}:", cpu_name());
  for (const Target target : all_targets()) {
    if (is_available(target)) text += fmt::format(" {}", target_name(target));
  }
  const auto gpus = cuda::devices();
  if (!gpus) return text + fmt::format("\ngpu  none: {}", gpus.error().message());
  for (const cuda::DeviceInfo& gpu : *gpus)
    text += fmt::format("\ngpu  {}", gpu.name);
  return text;
}

}  // namespace

int report(const Error& error) {
  std::fputs(fmt::format("rtai: {}\n", error.message()).c_str(), stderr);
  if (error.code() == ErrorCode::internal) {
    std::fputs("rtai: this is a defect in rtai; please report it with the command that showed it\n",
               stderr);
  }
  return exit_code(error.code());
}

int run_program(int argc, char** argv) {
  CLI::App app{"Makes BERT-class models answer in milliseconds: prune, quantize, run and measure."};
  app.name("rtai");
  app.set_version_flag("--version", version_text, "Print version, commit, processor and GPUs");
  app.require_subcommand(1);
  app.fallthrough();
  app.formatter(std::make_shared<HelpFormatter>());

  GlobalFlags flags;
  app.add_flag("-q,--quiet", flags.quiet, "Print results only");
  app.add_flag("-v,--verbose", flags.verbose, "Print every step");
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
  app.add_option("--config", config, "JSON file with flags: {\"seq\": 64, \"quiet\": true}")
      ->type_name("FILE");
  bool dump_config = false;
  app.add_flag("--dump-config", dump_config,
               "Print the flags that were given as such a file, and stop");
  app.footer(
      "The environment gives flags too: RTAI_BATCH_TOKENS for --batch-tokens.\n"
      "The command line wins over it, and it over the file of --config.");
  const std::vector<std::string> typed(argv + 1, argv + argc);
  const std::vector<std::string> given = add_environment(app, typed);
  const Result<std::vector<std::string>> words = expand_config(app, given);
  if (!words) return report(words.error());
  try {
    app.parse(std::vector<std::string>(words->rbegin(), words->rend()));
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) {  // --help, --version
      app.exit(error);
      return finish_output(0);
    }
    std::string message = explain(app, error, *words);
    message.insert(std::min(message.rfind(" (see `"), message.size()),
                   origin_of(message, typed, given));
    std::fputs(fmt::format("rtai: {}\n", message).c_str(), stderr);
    return 2;
  }

  if (const Result<void> distinct = check_written_files(app); !distinct) {
    report(distinct.error());
    return 2;
  }
  if (dump_config) {
    chosen = [&](Log&) -> Result<int> {
      RTAI_TRY_VOID(write_json(given_flags(app), "-"));
      return 0;
    };
  }
  TerminalLog log(flags);
  const Result<int> result = chosen(log);
  const bool has_lost_output = std::ferror(stdout) != 0 && is_output_unread();
  if (!result && result.error().code() == ErrorCode::io && has_lost_output) return 0;
  if (result) return finish_output(*result);
  return report(with_origin(result.error(), config_path(given),
                            std::span(argv, static_cast<std::size_t>(argc)).subspan(1)));
}

}  // namespace rtai::tools
