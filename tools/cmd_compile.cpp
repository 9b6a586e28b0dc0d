// rtai compile: an engine with unchanged numerics.
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/model.h"
#include "tools/report/table.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace rtai::tools {
namespace {

struct CompileFlags {
  std::string model;
  std::string output;
  std::string dtype = "f32";
  std::optional<std::string> json;
};

Result<int> run_compile(const CompileFlags& flags, const GlobalFlags& global, Log& log) {
  RTAI_TRY_VOID(check_output_path(flags.output));
  RTAI_TRY(Model model, load_model(flags.model, log));
  if (!model.graph) {
    return Error{ErrorCode::unsupported, fmt::format("{}: is an engine already", flags.model)};
  }
  if (flags.dtype == "fp16") {
    return Error{ErrorCode::unsupported,
                 "16-bit weights are bf16 on CPUs: --dtype fp16 has no kernels"};
  }
  if (flags.dtype == "bf16") {
    PassContext context{.log = &log};
    RTAI_TRY([[maybe_unused]] const std::vector<PassRecord> records,
             run_pipeline("narrow-weights", *model.graph, context, passes::make));
    model.metadata["pipeline"] += model.metadata["pipeline"].empty() ? "" : ",";
    model.metadata["pipeline"] += "narrow-weights";
  }
  RTAI_TRY_VOID(save_model(model, flags.output));
  std::error_code ignored;
  const auto bytes = std::filesystem::file_size(flags.output, ignored);
  if (flags.json) {
    RTAI_TRY_VOID(write_json({{"model", flags.model},
                              {"output", flags.output},
                              {"dtype", flags.dtype},
                              {"bytes", ignored ? Json(nullptr) : Json(bytes)}},
                             *flags.json));
  }
  if (is_stdout(flags.json)) return 0;
  if (ignored)
    print(global, fmt::format("{} -> {}\n", flags.model, flags.output));
  else
    print(global, fmt::format("{} -> {} ({})\n", flags.model, flags.output,
                              human_bytes(static_cast<double>(bytes))));
  return 0;
}

}  // namespace

void add_compile(Commands& commands) {
  auto flags = std::make_shared<CompileFlags>();
  CLI::App& command =
      *commands.app.add_subcommand("compile", "Write a model as an engine, with the same numerics");
  command.add_option("model", flags->model, "ONNX file or folder")->required();
  command.add_option("-o,--output", flags->output, "Where to write: .rtai, .onnx or a folder")
      ->type_name(kWrittenFile)
      ->required();
  command
      .add_option("--dtype", flags->dtype,
                  "Element type of the weights; bf16 is computed in f32, half the size")
      ->check(CLI::IsMember({"f32", "bf16", "fp16"}))
      ->capture_default_str();
  command.add_option("--json", flags->json, "Write as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.footer("Example: rtai compile model.onnx -o model.rtai");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_compile(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
