// rtai verify: every byte of an engine against its digests.
#include "runtime/engine/engine.h"
#include "runtime/text/tokenizer.h"
#include "tools/cli.h"
#include "tools/report/table.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace rtai::tools {
namespace {

Result<int> run_verify(const std::string& path, const GlobalFlags& global) {
  RTAI_TRY(const engine::Engine engine, engine::open(path, engine::Verify::digests));
  if (!engine.tokenizer.empty()) {
    RTAI_TRY([[maybe_unused]] const text::Tokenizer tokenizer,
             text::Tokenizer::deserialize(engine.tokenizer).in(path + ": tokenizer"));
  }
  print(global, fmt::format("{}: ok, {} in {} tensors, every digest matches\n", path,
                            human_bytes(static_cast<double>(engine.file_bytes)),
                            engine.program.tensors.size()));
  return 0;
}

}  // namespace

void add_verify(Commands& commands) {
  auto path = std::make_shared<std::string>();
  CLI::App& command = *commands.app.add_subcommand("verify", "Check an engine file completely");
  command.add_option("engine", *path, "Engine file")->required();
  command.footer("Example: rtai verify model.rtai");
  command.callback([path, &commands] {
    commands.chosen = [path, &global = commands.flags](Log&) { return run_verify(*path, global); };
  });
}

}  // namespace rtai::tools
