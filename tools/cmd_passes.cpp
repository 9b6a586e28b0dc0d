// rtai passes: the passes, their options, their sources.
#include "passes/passes.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace rtai::tools {
namespace {

std::string_view exactness_name(Exactness exactness) {
  return exactness == Exactness::exact ? "exact" : "approximate";
}

std::string as_text() {
  std::string text;
  for (const passes::MakePass make : passes::all()) {
    const std::unique_ptr<Pass> pass = make();
    const PassInfo& info = pass->info();
    text +=
        fmt::format("{} ({})\n    {}\n", info.name, exactness_name(info.exactness), info.summary);
    if (info.source != "-") text += fmt::format("    source: {}\n", info.source);
    for (const OptionInfo& option : pass->options()) {
      text += fmt::format("    {}={}  {}\n", option.name, option.default_value, option.help);
    }
    text += "\n";
  }
  return text;
}

std::string as_markdown() {
  std::string text =
      "# Passes\n\nWritten by `rtai passes --markdown`, in the order of `passes/passes.inc`. A "
      "pipeline is text: "
      "`name-layers,quantize-int8{mode=static}`.\n";
  for (const passes::MakePass make : passes::all()) {
    const std::unique_ptr<Pass> pass = make();
    const PassInfo& info = pass->info();
    text += fmt::format("\n## {0}\n\n`{0}` {1} ({2}).\n", info.name, info.summary,
                        exactness_name(info.exactness));
    if (info.source != "-") text += fmt::format("\nSource: {}.\n", info.source);
    if (pass->options().empty()) continue;
    text += "\n| option | default | meaning |\n| --- | --- | --- |\n";
    for (const OptionInfo& option : pass->options()) {
      text += fmt::format("| `{}` | `{}` | {} |\n", option.name, option.default_value, option.help);
    }
  }
  return text;
}

Json as_json() {
  Json list = Json::array();
  for (const passes::MakePass make : passes::all()) {
    const std::unique_ptr<Pass> pass = make();
    const PassInfo& info = pass->info();
    Json options = Json::array();
    for (const OptionInfo& option : pass->options()) {
      options.push_back(
          {{"name", option.name}, {"default", option.default_value}, {"help", option.help}});
    }
    list.push_back({{"name", info.name},
                    {"summary", info.summary},
                    {"source", info.source},
                    {"exactness", exactness_name(info.exactness)},
                    {"options", options}});
  }
  return {{"passes", list}};
}

struct PassesFlags {
  bool markdown = false;
  std::optional<std::string> json;
};

Result<int> run_passes(const PassesFlags& flags, const GlobalFlags& global) {
  if (flags.json) RTAI_TRY_VOID(write_json(as_json(), *flags.json));
  if (!is_stdout(flags.json)) print(global, flags.markdown ? as_markdown() : as_text());
  return 0;
}

}  // namespace

void add_passes(Commands& commands) {
  auto flags = std::make_shared<PassesFlags>();
  CLI::App& command =
      *commands.app.add_subcommand("passes", "List the passes, their options and sources");
  command.add_flag("--markdown", flags->markdown, "As docs/passes.md has it");
  command.add_option("--json", flags->json, "Write as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.footer("Example: rtai passes");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log&) {
      return run_passes(*flags, global);
    };
  });
}

}  // namespace rtai::tools
