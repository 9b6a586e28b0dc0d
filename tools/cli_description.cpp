#include "tools/cli_description.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <sstream>

namespace rtai::tools {
namespace {

/// "TEXT:{auto,dynamic,static}" holds the values, "INT:INT in [1 - 1024]" the limits.
std::vector<std::string> choices_of(const std::string& type) {
  const std::size_t open = type.find('{');
  const std::size_t close = type.rfind('}');
  std::vector<std::string> choices;
  if (open == std::string::npos || close == std::string::npos) return choices;
  std::istringstream list(type.substr(open + 1, close - open - 1));
  std::string choice;
  while (std::getline(list, choice, ','))
    choices.push_back(choice);
  return choices;
}

FlagDescription flag_of(const CLI::Option& option, const std::string& group) {
  FlagDescription flag;
  flag.is_positional = is_positional(option);
  flag.name = flag.is_positional ? option.get_single_name() : "--" + option.get_lnames().front();
  if (!option.get_snames().empty()) flag.short_name = "-" + option.get_snames().front();
  flag.description = option.get_description();
  flag.group = group;
  flag.default_text = option.get_default_str();
  // --help and --version have a type of their own, but take no value.
  const bool is_switch = option.get_expected_max() == 0 || option.get_items_expected_max() == 0;
  const std::string type = option.get_type_name();
  if (!is_switch) flag.type = type.substr(0, type.find_first_of(": "));
  flag.choices = choices_of(type);
  flag.may_have_unit = type.find("[UNIT]") != std::string::npos;
  flag.is_required = option.get_required();
  flag.is_list = option.get_items_expected_max() > 1;
  return flag;
}

std::vector<FlagDescription> flags_of(const CLI::App& app) {
  std::vector<FlagDescription> flags;
  for_each_option(app, [&](const CLI::Option& option, const CLI::App& part) {
    if (&part != &app && &option == part.get_help_ptr()) return;  // the command has one
    const std::string group = &part == &app ? "Options" : part.get_group();
    const std::string own = option.get_group();
    flags.push_back(flag_of(option, own.empty() || own == "Options" ? group : own));
    flags.back().is_alternative = &part != &app;
  });
  return flags;
}

}  // namespace

std::string upper_case(std::string_view text) {
  std::string upper(text);
  std::ranges::transform(upper, upper.begin(), [](char c) {
    return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  });
  return upper;
}

bool is_positional(const CLI::Option& option) {
  return option.get_lnames().empty() && option.get_snames().empty();
}

void for_each_option(const CLI::App& app, const OptionAction& action) {
  for (const CLI::Option* option : app.get_options())
    action(*option, app);
  for (const CLI::App* part : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (part->get_name().empty()) for_each_option(*part, action);
  }
}

const CommandDescription* ProgramDescription::find(const std::string& name) const {
  const auto found = std::ranges::find(commands, name, &CommandDescription::name);
  return found == commands.end() ? nullptr : &*found;
}

ProgramDescription describe(const CLI::App& app) {
  ProgramDescription program{.description = app.get_description(),
                             .notes = app.get_footer(),
                             .flags = flags_of(app),
                             .commands = {}};
  for (const CLI::App* command : app.get_subcommands([](const CLI::App*) { return true; })) {
    program.commands.push_back({command->get_name(), command->get_description(),
                                command->get_footer(), flags_of(*command)});
  }
  return program;
}

}  // namespace rtai::tools
