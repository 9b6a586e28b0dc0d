// Manual pages in troff, and the schema of configuration files.
#include "tools/cli_description.h"
#include "tools/json.h"
#include "tools/version.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::tools {
namespace {

/// Text as troff takes it literally: no hyphens that are not in the text, no requests.
std::string troff(const std::string& text) {
  std::string result;
  bool line_begins = true;
  for (const char c : text) {
    if (line_begins && (c == '.' || c == '\'')) result += "\\&";
    line_begins = c == '\n';
    if (c == '\\') {
      result += "\\e";
    } else if (c == '-') {
      result += "\\-";
    } else {
      result += c;
    }
  }
  return result;
}

std::string flag_entry(const FlagDescription& flag) {
  std::string head = flag.short_name.empty() ? flag.name : flag.short_name + ", " + flag.name;
  if (flag.takes_value() && !flag.is_positional)
    head +=
        " " + (flag.choices.empty() ? flag.type : fmt::format("{}", fmt::join(flag.choices, "|")));
  std::string text = flag.description;
  if (!flag.default_text.empty() && flag.takes_value())
    text += fmt::format(" (default: {})", flag.default_text);
  return fmt::format(".TP\n\\fB{}\\fR\n{}\n", troff(head), troff(text));
}

/// Grouped as --help shows them.
std::string flag_entries(const std::vector<FlagDescription>& flags) {
  std::vector<std::string> groups;
  for (const FlagDescription& flag : flags) {
    const std::string group = flag.is_positional ? "Arguments" : flag.group;
    if (std::ranges::find(groups, group) == groups.end()) groups.push_back(group);
  }
  std::string text;
  for (const std::string& group : groups) {
    text += fmt::format(".SS {}\n", troff(group));
    for (const FlagDescription& flag : flags) {
      if ((flag.is_positional ? "Arguments" : flag.group) == group) text += flag_entry(flag);
    }
  }
  return text;
}

constexpr std::string_view kExitStatus = R"(.SH EXIT STATUS
.TP
0
done
.TP
1
a defect in rtai; the message asks for a report
.TP
2
wrong flags
.TP
3
a file or value given cannot be used
.TP
4
valid, but rtai cannot do it
.TP
5
an engine file that is damaged or was changed
.TP
6
the device is missing or failed; out of memory
.TP
7
a gate was missed; the output and the report were written
.TP
130, 143
interrupted, or ended by SIGTERM; no half\-written file is left
)";

constexpr std::string_view kEnvironment = R"(.SH ENVIRONMENT
.TP
RTAI_THREADS, RTAI_TARGET, ...
\-\-threads, \-\-target and every other flag where the command line lacks it; before the file of \-\-config
.TP
RTAI_CACHE_DIR
the folder in which sessions on a GPU keep what they found by trying; empty: none; by default the folder rtai in
$XDG_CACHE_HOME or ~/.cache
.TP
NO_COLOR
if it is set and not empty, nothing is coloured
)";

std::string title(const std::string& name) {
  return fmt::format(".TH {} 1 \"\" \"rtai {}\"\n", troff(upper_case(name)), version());
}

std::string synopsis(const CommandDescription& command) {
  std::string text = fmt::format("\\fBrtai {}\\fR", troff(command.name));
  for (const FlagDescription& flag : command.flags) {
    if (!flag.is_positional) continue;
    const std::string word =
        fmt::format("\\fI{}\\fR{}", troff(flag.name), flag.is_list ? "..." : "");
    text += flag.is_required ? " " + word : " [" + word + "]";
  }
  for (const FlagDescription& flag : command.flags) {
    if (!flag.is_positional && flag.is_required)
      text += fmt::format(" \\fB{}\\fR \\fI{}\\fR", troff(flag.name), flag.type);
  }
  return text + " [\\fIflags\\fR]\n";
}

std::string command_page(const ProgramDescription& program, const CommandDescription& command) {
  return title("rtai-" + command.name) +
         fmt::format(".SH NAME\nrtai\\-{} \\- {}\n.SH SYNOPSIS\n{}", troff(command.name),
                     troff(command.description), synopsis(command)) +
         ".SH OPTIONS\n" + flag_entries(command.flags) + ".SH GLOBAL OPTIONS\n" +
         flag_entries(program.flags) +
         (command.examples.empty() ? ""
                                   : ".SH EXAMPLES\n.nf\n" + troff(command.examples) + "\n.fi\n") +
         std::string(kExitStatus) + ".SH SEE ALSO\nrtai(1)\n";
}

std::string program_page(const ProgramDescription& program) {
  std::string text = title("rtai") + fmt::format(
                                         ".SH NAME\nrtai \\- {}\n.SH SYNOPSIS\n\\fBrtai\\fR "
                                         "\\fIcommand\\fR [\\fIflags\\fR]\n.SH COMMANDS\n",
                                         "make BERT\\-class models answer in milliseconds");
  for (const CommandDescription& command : program.commands)
    text += fmt::format(".TP\n\\fBrtai\\-{}\\fR(1)\n{}\n", troff(command.name),
                        troff(command.description));
  return text + ".SH OPTIONS\n" + flag_entries(program.flags) + std::string(kEnvironment) +
         std::string(kExitStatus);
}

Json type_schema(const FlagDescription& flag) {
  if (!flag.takes_value()) return {{"type", "boolean"}};
  const bool is_integer = flag.type == "INT" || flag.type == "UINT";
  if (!flag.choices.empty()) {
    Json choices = flag.choices;
    for (Json& choice : choices)
      if (is_integer) choice = std::stol(choice.get<std::string>());
    return {{"enum", choices}};
  }
  if (is_integer) return {{"type", "integer"}};
  if (flag.may_have_unit) return {{"type", {"number", "string"}}};
  if (flag.type == "FLOAT") return {{"type", "number"}};
  return {{"type", "string"}};
}

}  // namespace

std::string manual_page(const ProgramDescription& program, const std::string& command) {
  const CommandDescription* found = program.find(command);
  return found == nullptr ? program_page(program) : command_page(program, *found);
}

std::string config_schema(const ProgramDescription& program, const CommandDescription& command) {
  Json properties = {{"$schema", {{"type", "string"}}}};
  std::vector<FlagDescription> flags = command.flags;
  flags.insert(flags.end(), program.flags.begin(), program.flags.end());
  for (const FlagDescription& flag : flags) {
    const std::string key = flag.is_positional ? flag.name : flag.name.substr(2);
    // Asked for at a prompt, or what names the file itself.
    if (key == "help" || key == "version" || key == "config" || key == "dump-config" ||
        properties.contains(key))
      continue;
    Json schema = type_schema(flag);
    if (flag.is_list) schema = {{"anyOf", {schema, {{"type", "array"}, {"items", schema}}}}};
    schema["description"] = flag.description;
    properties[key] = std::move(schema);
  }
  const Json document = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                         {"title", fmt::format("rtai {} --config", command.name)},
                         {"type", "object"},
                         {"properties", properties},
                         {"additionalProperties", false}};
  return pretty(document);
}

}  // namespace rtai::tools
