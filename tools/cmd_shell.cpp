// rtai completion, rtai man, rtai init: what makes the command line at home in a shell and a
// project.
#include "tools/cmd_shell.h"

#include "runtime/base/atomic_write.h"
#include "tools/cli_description.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <filesystem>

namespace rtai::tools {
namespace {

struct ManFlags {
  std::string command;
  std::optional<std::string> folder;
};

struct InitFlags {
  std::string path = "rtai.json";
  std::string model = "model";
  bool schema = false;
};

Result<int> run_man(const ManFlags& flags, const ProgramDescription& program) {
  if (!flags.command.empty() && program.find(flags.command) == nullptr)
    return Error{ErrorCode::invalid_input, fmt::format("man: no command '{}'", flags.command)};
  if (!flags.folder) {
    print({}, manual_page(program, flags.command));
    return 0;
  }
  const std::filesystem::path folder = *flags.folder;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return Error{ErrorCode::io, fmt::format("{}: {}", folder.string(), error.message())};
  RTAI_TRY_VOID(write_file_atomically(folder / "rtai.1", manual_page(program, "")));
  for (const CommandDescription& command : program.commands) {
    RTAI_TRY_VOID(write_file_atomically(folder / fmt::format("rtai-{}.1", command.name),
                                        manual_page(program, command.name)));
  }
  return 0;
}

/// A start that runs as it is once the three file names are right.
std::string starting_config(const std::string& model) {
  return fmt::format(R"({{
  // Run with: rtai optimize --config rtai.json
  // Keys are the flags of `rtai optimize --help` without their dashes; lines like this one are comments.

  // What comes in: an ONNX file, or a folder as Hugging Face tools write it.
  "model": "{}",
  // What goes out: .rtai is an engine, .onnx loads in any runtime, anything else is a folder.
  "output": "optimized.rtai",

  // A few hundred plain texts like those to come, one a line; no labels.
  "calib": "texts.txt",
  // Labelled texts to measure quality on. Without it, agreement with the model before is measured.
  // "eval": "test.jsonl",

  // The goal: times faster than the model is now; or "latency": 2.5 for milliseconds a run;
  // or "fastest": true for as much as "max-drop" allows.
  "speedup": 3,
  // The workload that this is measured at.
  "batch": 1,
  "seq": 128,

  // The gate: exit with 7 if more points than this are lost. The output is written all the same.
  "max-drop": 1,

  // Reports, for programs and for people.
  "report": "report.json",
  "html": "report.html"
}}
)",
                     model);
}

Result<int> run_init(const InitFlags& flags,
                     const ProgramDescription& program,
                     const GlobalFlags& global) {
  if (flags.schema) {
    print({}, config_schema(program, *program.find("optimize")));
    return 0;
  }
  std::error_code ignored;
  if (std::filesystem::exists(flags.path, ignored))
    return Error{ErrorCode::invalid_input,
                 fmt::format("{}: is there already; nothing was written", flags.path)};
  RTAI_TRY_VOID(write_file_atomically(flags.path, starting_config(flags.model)));
  print(global, fmt::format("{} written; look through it, then: rtai optimize --config {}\n",
                            flags.path, flags.path));
  return 0;
}

}  // namespace

void add_completion(Commands& commands) {
  auto shell = std::make_shared<std::string>();
  CLI::App& command = *commands.app.add_subcommand(
      "completion", "Print a script that completes commands and flags");
  command.add_option("shell", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command.footer("Example: rtai completion bash > ~/.local/share/bash-completion/completions/rtai");
  command.callback([shell, &commands] {
    commands.chosen = [shell, &app = commands.app](Log&) -> Result<int> {
      print({}, completion_script(describe(app), *shell));
      return 0;
    };
  });
}

void add_man(Commands& commands) {
  auto flags = std::make_shared<ManFlags>();
  CLI::App& command =
      *commands.app.add_subcommand("man", "Print the manual page of rtai or of a command");
  command.add_option("command", flags->command, "A command; none: the program");
  command.add_option("--write", flags->folder, "Write all pages to this folder instead");
  command.footer("Example: rtai man bench | man -l -");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &app = commands.app](Log&) { return run_man(*flags, describe(app)); };
  });
}

void add_init(Commands& commands) {
  auto flags = std::make_shared<InitFlags>();
  CLI::App& command = *commands.app.add_subcommand(
      "init", "Write a commented rtai.json for `rtai optimize --config`");
  command.add_option("file", flags->path, "Where to write it")->capture_default_str();
  command.add_option("--model", flags->model, "The model to begin with")->capture_default_str();
  command.add_flag("--schema", flags->schema, "Print the JSON Schema of such files instead");
  command.footer(
      "Example: rtai init --model model-folder && rtai optimize --config rtai.json --dry-run");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &app = commands.app, &global = commands.flags](Log&) {
      return run_init(*flags, describe(app), global);
    };
  });
}

}  // namespace rtai::tools
