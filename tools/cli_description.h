// The command line as data: read from CLI11's objects, so that --help, completions, manual pages
// and the schema of configuration files say the same.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace rtai::tools {

struct FlagDescription {
  std::string name;        // "--calib", or "model" for a positional
  std::string short_name;  // "-o", or empty
  std::string description;
  std::string group;                 // "Workload", or "Options"
  std::string default_text;          // empty: none
  std::string type;                  // "TEXT", "INT", "FLOAT", ...; empty: a switch
  std::vector<std::string> choices;  // its values, where there are few
  bool may_have_unit = false;        // a number, or a text like 5ms
  bool is_positional = false;
  bool is_required = false;
  bool is_list = false;
  bool is_alternative = false;  // one flag of its group is needed

  bool takes_value() const { return !type.empty(); }
};

struct CommandDescription {
  std::string name;
  std::string description;
  std::string examples;  // the footer of --help
  std::vector<FlagDescription> flags;
};

/// The program: `flags` are those of every command.
struct ProgramDescription {
  std::string description;
  std::string notes;  // the footer of --help
  std::vector<FlagDescription> flags;
  std::vector<CommandDescription> commands;

  /// Nothing if there is no such command.
  const CommandDescription* find(const std::string& name) const;
};

ProgramDescription describe(const CLI::App& app);

/// ASCII letters as capitals.
std::string upper_case(std::string_view text);

/// True if its values have no flag in front.
bool is_positional(const CLI::Option& option);

/// Calls `action` for every option of `app` and of its option groups, not of its commands, with the
/// one of them that has it.
using OptionAction = std::function<void(const CLI::Option& option, const CLI::App& part)>;
void for_each_option(const CLI::App& app, const OptionAction& action);

/// What --help prints of a command, or of the program with an empty name.
std::string help_text(const ProgramDescription& program, const std::string& command);

/// A script for `shell`: bash, zsh or fish.
std::string completion_script(const ProgramDescription& program, const std::string& shell);

/// The manual page of a command in troff, or of the program with an empty name.
std::string manual_page(const ProgramDescription& program, const std::string& command);

/// A JSON Schema (draft 2020-12) of the files that --config takes, for one command.
std::string config_schema(const ProgramDescription& program, const CommandDescription& command);

}  // namespace rtai::tools
