// Completions for bash, zsh and fish. Whatever is not a flag, a command or one of few values is a
// file.
#include "tools/cli_description.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

/// The flags of a command and of every command.
std::vector<FlagDescription> flags_of(const ProgramDescription& program,
                                      const CommandDescription& command) {
  std::vector<FlagDescription> flags = command.flags;
  for (const FlagDescription& flag : program.flags) {
    if (std::ranges::find(flags, flag.name, &FlagDescription::name) == flags.end())
      flags.push_back(flag);
  }
  std::erase_if(flags, &FlagDescription::is_positional);
  return flags;
}

std::string words_of(const std::vector<FlagDescription>& flags) {
  std::vector<std::string> words;
  for (const FlagDescription& flag : flags) {
    words.push_back(flag.name);
    if (!flag.short_name.empty()) words.push_back(flag.short_name);
  }
  return fmt::format("{}", fmt::join(words, " "));
}

std::string names_of(const ProgramDescription& program) {
  std::vector<std::string> names;
  for (const CommandDescription& command : program.commands)
    names.push_back(command.name);
  return fmt::format("{}", fmt::join(names, " "));
}

/// Every character of `special` with a backslash before it.
std::string escaped(const std::string& text, std::string_view special) {
  std::string result;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) result += '\\';
    result += c;
  }
  return result;
}

/// 'text' for a shell.
std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text)
    result += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return result + "'";
}

std::string bash_script(const ProgramDescription& program) {
  std::string script = R"(# rtai completion bash > /usr/share/bash-completion/completions/rtai
_rtai() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command= word
  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    [[ $word != -* ]] && { command=$word; break; }
  done
  COMPREPLY=()
  local words=
  case "$command $prev" in
)";
  for (const CommandDescription& command : program.commands) {
    for (const FlagDescription& flag : flags_of(program, command)) {
      if (!flag.choices.empty())
        script += fmt::format("    '{} {}') words='{}' ;;\n", command.name, flag.name,
                              fmt::join(flag.choices, " "));
    }
  }
  script += "    *) case \"$cur,$command\" in\n";
  for (const CommandDescription& command : program.commands)
    script += fmt::format("      -*,{}) words='{}' ;;\n", command.name,
                          words_of(flags_of(program, command)));
  script += fmt::format("      -*,) words='{}' ;;\n      *,) words='{}' ;;\n",
                        words_of(program.flags), names_of(program));
  for (const CommandDescription& command : program.commands) {
    for (const FlagDescription& flag : command.flags) {
      if (flag.is_positional && !flag.choices.empty())
        script +=
            fmt::format("      *,{}) words='{}' ;;\n", command.name, fmt::join(flag.choices, " "));
    }
  }
  return script + R"(    esac ;;
  esac
  if [[ -n $words ]]; then
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
  else
    compopt -o filenames 2>/dev/null
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -F _rtai rtai
)";
}

std::string zsh_argument(const FlagDescription& flag) {
  const std::string words = escaped(flag.description, "[]:\\");
  const std::string values = !flag.takes_value() ? ""
                             : !flag.choices.empty()
                                 ? fmt::format(":value:({})", fmt::join(flag.choices, " "))
                                 : ":value:_files";
  return quoted(fmt::format("{}[{}]{}", flag.name, words, values));
}

std::string zsh_script(const ProgramDescription& program) {
  std::string script =
      "#compdef rtai\n# rtai completion zsh > \"${fpath[1]}/_rtai\"\n_rtai() {\n  local -a "
      "commands=(\n";
  for (const CommandDescription& command : program.commands)
    script +=
        fmt::format("    {}\n", quoted(command.name + ":" + escaped(command.description, ":\\")));
  script +=
      "  )\n  if (( CURRENT == 2 )) && [[ $words[2] != -* ]]; then\n    _describe command "
      "commands\n    return\n  fi\n  case $words[2] in\n";
  for (const CommandDescription& command : program.commands) {
    script += fmt::format("    {}) _arguments", command.name);
    for (const FlagDescription& flag : flags_of(program, command))
      script += " \\\n      " + zsh_argument(flag);
    const auto positional = std::ranges::find_if(command.flags, [](const FlagDescription& flag) {
      return flag.is_positional && !flag.choices.empty();
    });
    script += positional != command.flags.end() ? fmt::format(" \\\n      '*:value:({})' ;;\n",
                                                              fmt::join(positional->choices, " "))
                                                : " \\\n      '*:file:_files' ;;\n";
  }
  return script + "  esac\n}\n_rtai \"$@\"\n";
}

std::string fish_script(const ProgramDescription& program) {
  std::string script = "# rtai completion fish > ~/.config/fish/completions/rtai.fish\n";
  for (const CommandDescription& command : program.commands) {
    script += fmt::format("complete -c rtai -n __fish_use_subcommand -f -a {} -d {}\n",
                          command.name, quoted(command.description));
  }
  for (const CommandDescription& command : program.commands) {
    const std::string when =
        fmt::format("complete -c rtai -n '__fish_seen_subcommand_from {}'", command.name);
    for (const FlagDescription& flag : flags_of(program, command)) {
      script += fmt::format("{} -l {} -d {}", when, flag.name.substr(2), quoted(flag.description));
      if (!flag.short_name.empty()) script += " -s " + flag.short_name.substr(1);
      if (flag.takes_value())
        script +=
            flag.choices.empty() ? " -r" : fmt::format(" -x -a '{}'", fmt::join(flag.choices, " "));
      script += "\n";
    }
    for (const FlagDescription& flag : command.flags) {
      if (flag.is_positional && !flag.choices.empty())
        script += fmt::format("{} -f -a '{}'\n", when, fmt::join(flag.choices, " "));
    }
  }
  return script;
}

}  // namespace

std::string completion_script(const ProgramDescription& program, const std::string& shell) {
  if (shell == "zsh") return zsh_script(program);
  if (shell == "fish") return fish_script(program);
  return bash_script(program);
}

}  // namespace rtai::tools
