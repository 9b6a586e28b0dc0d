// What --help prints.
#include "tools/cli_description.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

constexpr std::size_t kTextColumn = 28;
constexpr std::size_t kWidth = 100;

/// "FILE", "auto|dynamic|static", "N"
std::string value_of(const FlagDescription& flag) {
  if (!flag.choices.empty()) return fmt::format("{}", fmt::join(flag.choices, "|"));
  if (flag.type == "INT" || flag.type == "UINT") return "N";
  return flag.type == "FLOAT" ? "NUMBER" : flag.type;
}

/// Two columns, the second broken into lines at blanks.
std::string entry(const std::string& head, const std::string& text) {
  std::string entry = "  " + head;
  std::size_t column = entry.size();
  if (column + 2 > kTextColumn) {
    entry += "\n";
    column = 0;
  }
  entry.append(kTextColumn - column, ' ');
  column = kTextColumn;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    if (column > kTextColumn && column + 1 + word.size() > kWidth) {
      entry += "\n" + std::string(kTextColumn, ' ');
      column = kTextColumn;
    } else if (column > kTextColumn) {
      entry += " ";
      ++column;
    }
    entry += word;
    column += word.size();
    begin = end + 1;
  }
  return entry + "\n";
}

std::string flag_entry(const FlagDescription& flag) {
  std::string head = flag.name;
  if (flag.is_positional) {
    head = upper_case(flag.name) + (flag.is_list ? "..." : "");
  } else {
    if (!flag.short_name.empty()) head = flag.short_name + ", " + flag.name;
    if (flag.takes_value()) head += " " + value_of(flag);
  }
  std::string text = flag.description;
  if (flag.is_required && !flag.is_positional) text += " (required)";
  if (!flag.default_text.empty() && flag.takes_value())
    text += fmt::format(" (default: {})", flag.default_text);
  return entry(head, text);
}

std::string heading_of(const FlagDescription& flag) {
  if (flag.is_positional) return "Arguments";
  return flag.is_alternative ? flag.group + ", one of these" : flag.group;
}

/// What must be given first, what every command has last.
std::string groups_of(const std::vector<FlagDescription>& flags) {
  std::vector<std::string> headings;
  const auto add = [&](bool is_alternative) {
    for (const FlagDescription& flag : flags) {
      const std::string heading = heading_of(flag);
      if ((flag.is_positional || flag.is_alternative) == is_alternative &&
          std::ranges::find(headings, heading) == headings.end())
        headings.push_back(heading);
    }
  };
  add(true);
  add(false);
  std::string text;
  for (const std::string& heading : headings) {
    text += fmt::format("\n{}:\n", heading);
    for (const FlagDescription& flag : flags) {
      if (heading_of(flag) == heading) text += flag_entry(flag);
    }
  }
  return text;
}

std::string usage_of(const CommandDescription& command) {
  std::string usage = "rtai " + command.name;
  for (const FlagDescription& flag : command.flags) {
    if (!flag.is_positional) continue;
    const std::string word = upper_case(flag.name) + (flag.is_list ? "..." : "");
    usage += flag.is_required ? " " + word : " [" + word + "]";
  }
  for (const FlagDescription& flag : command.flags) {
    if (!flag.is_positional && flag.is_required)
      usage += fmt::format(" {} {}", flag.short_name.empty() ? flag.name : flag.short_name,
                           value_of(flag));
  }
  return usage + " [flags]";
}

std::string program_help(const ProgramDescription& program) {
  std::string text =
      fmt::format("{}\n\nUsage: rtai COMMAND [flags]\n\nCommands:\n", program.description);
  for (const CommandDescription& command : program.commands)
    text += entry(command.name, command.description);
  return text + groups_of(program.flags) + "\n" + program.notes + "\n";
}

}  // namespace

std::string help_text(const ProgramDescription& program, const std::string& name) {
  const CommandDescription* command = program.find(name);
  if (command == nullptr) return program_help(program);
  std::string text = fmt::format("{}\n\nUsage: {}\n", command->description, usage_of(*command)) +
                     groups_of(command->flags) + "\nFlags of every command:\n";
  for (const FlagDescription& flag : program.flags) {
    if (flag.name != "--help" && flag.name != "--version") text += flag_entry(flag);
  }
  return text + "\n" + command->examples + "\n";
}

}  // namespace rtai::tools
