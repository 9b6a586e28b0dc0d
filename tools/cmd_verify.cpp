// rtai verify: every byte of an engine against its digests.
#include "runtime/engine/engine.h"
#include "runtime/text/tokenizer.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/report/table.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace rtai::tools {
namespace {

struct VerifyFlags {
  std::string engine;
  std::optional<std::string> json;
};

Result<int> run_verify(const VerifyFlags& flags, const GlobalFlags& global) {
  const std::string& path = flags.engine;
  RTAI_TRY(const engine::Engine engine, engine::open(path, engine::Verify::digests));
  if (!engine.tokenizer.empty()) {
    RTAI_TRY([[maybe_unused]] const text::Tokenizer tokenizer,
             text::Tokenizer::deserialize(engine.tokenizer).in(path + ": tokenizer"));
  }
  if (flags.json) {
    RTAI_TRY_VOID(write_json({{"engine", path},
                              {"bytes", engine.file_bytes},
                              {"tensors", engine.program.tensors.size()},
                              {"verified", true}},
                             *flags.json));
  }
  if (is_stdout(flags.json)) return 0;
  print(global, fmt::format("{}: ok, {} in {} tensors, every digest matches\n", path,
                            human_bytes(static_cast<double>(engine.file_bytes)),
                            engine.program.tensors.size()));
  return 0;
}

}  // namespace

void add_verify(Commands& commands) {
  auto flags = std::make_shared<VerifyFlags>();
  CLI::App& command = *commands.app.add_subcommand("verify", "Check an engine file completely");
  command.add_option("engine", flags->engine, "Engine file")->required();
  command.add_option("--json", flags->json, "Write as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.footer("Example: rtai verify model.rtai");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log&) {
      return run_verify(*flags, global);
    };
  });
}

}  // namespace rtai::tools
