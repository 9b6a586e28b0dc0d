// rtai inspect: what is inside a model.
#include "libopt/ir/encoder.h"
#include "libopt/ir/ops.h"
#include "libopt/ir/text.h"
#include "libopt/onnx/outline.h"
#include "runtime/base/atomic_write.h"
#include "runtime/engine/packed_weights.h"
#include "runtime/exec/session.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/model.h"
#include "tools/model_files.h"
#include "tools/report/graph_svg.h"
#include "tools/report/optimization.h"
#include "tools/report/table.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <map>

namespace rtai::tools {
namespace {

struct InspectFlags {
  std::string model;
  bool graph = false;
  std::optional<std::string> json;
  std::optional<std::string> svg;
};

/// A linear or attention step of an engine with its shape.
std::string step_shape(const engine::Program& program, const engine::Step& step) {
  const engine::ValueInfo& dst = program.values[static_cast<std::size_t>(step.dst)];
  if (engine::is_attention(step)) return fmt::format("{} heads of {}", step.heads, step.head_dim);
  if (step.op == engine::OpKind::linear) {
    const auto weight = static_cast<std::size_t>(step.tensors[engine::linear_tensor::weight]);
    return fmt::format("{} -> {}", program.tensors[weight].dims[1],
                       program.tensors[weight].dims[0]);
  }
  return fmt::format("{}", dst.columns);
}

std::string step_precision(const engine::Program& program, const engine::Step& step) {
  if (engine::is_int8_attention(step)) return "i8";
  const engine::TensorIndex weight = step.tensors[0];
  if (weight == engine::kNone) return "f32";
  const engine::TensorInfo& tensor = program.tensors[static_cast<std::size_t>(weight)];
  const std::string type = tensor.group > 0 ? "i4" : std::string(dtype_name(tensor.dtype));
  if (step.op != engine::OpKind::linear || tensor.dtype != DType::i8) return type;
  return type + (step.real > 0 ? " static" : " dynamic");
}

/// Of its tensors, as they stand in the file.
std::uint64_t step_bytes(const engine::Program& program, const engine::Step& step) {
  std::uint64_t bytes = 0;
  for (const engine::TensorIndex tensor : step.tensors) {
    if (tensor == engine::kNone) continue;
    bytes += engine::bytes_in_file(program.tensors[static_cast<std::size_t>(tensor)]).value_or(0);
  }
  return bytes;
}

std::string step_name(const engine::Program& program, const engine::Step& step) {
  if (step.tensors[0] == engine::kNone) return "";
  std::string name = program.tensors[static_cast<std::size_t>(step.tensors[0])].name;
  return name.substr(0, name.find_last_of('.'));
}

Json steps_json(const engine::Program& program) {
  Json steps = Json::array();
  for (const engine::Step& step : program.steps) {
    steps.push_back({{"name", step_name(program, step)},
                     {"op", engine::op_name(step.op)},
                     {"shape", step_shape(program, step)},
                     {"precision", step_precision(program, step)},
                     {"bytes", step_bytes(program, step)}});
  }
  return steps;
}

// Of a charsmap one cannot tell.
std::string_view case_of(const text::Tokenizer& tokenizer) {
  using Kind = text::NormalizerStep::Kind;
  if (tokenizer.settings().normalizes(Kind::lowercase)) return ", lower case";
  return tokenizer.settings().normalizes(Kind::charsmap) ? "" : ", case kept";
}

std::vector<DrawnStep> drawn_steps(const engine::Program& program) {
  std::vector<DrawnStep> drawn;
  std::map<engine::ValueIndex, std::size_t> makers;  // which step a value comes from
  for (const engine::Step& step : program.steps) {
    DrawnStep one{.name = step_name(program, step),
                  .op = std::string(engine::op_name(step.op)),
                  .shape = step_shape(program, step),
                  .precision = step_precision(program, step)};
    for (const engine::ValueIndex source : step.src) {
      if (const auto maker = makers.find(source); maker != makers.end())
        one.sources.push_back(maker->second);
    }
    makers[step.dst] = drawn.size();
    drawn.push_back(std::move(one));
  }
  return drawn;
}

Json tokenizer_json(const Model& model) {
  if (!model.tokenizer) return nullptr;
  const text::TokenizerSettings& settings = model.tokenizer->settings();
  return {{"kind", text::model_name(settings.model)},
          {"ids", model.tokenizer->id_limit()},
          {"lowercase", settings.normalizes(text::NormalizerStep::Kind::lowercase)},
          {"max_length", settings.max_length}};
}

Json model_json(const Model& model, const engine::Engine& engine) {
  Json outputs = Json::array();
  for (const engine::Output& output : engine.program.outputs) {
    const engine::ValueInfo& value = engine.program.values[static_cast<std::size_t>(output.value)];
    outputs.push_back({{"name", output.name},
                       {"rows", value.rows == engine::Rows::tokens ? "tokens" : "sequences"},
                       {"columns", value.columns}});
  }
  std::uint64_t parameters = 0;
  for (const engine::TensorInfo& tensor : engine.program.tensors) {
    parameters += static_cast<std::uint64_t>(tensor.dims[0] * tensor.dims[1]);
  }
  return {{"model", model.name},
          {"form", model.engine ? "engine" : "onnx"},
          {"task", task_name(model.task)},
          {"dtype", model.dtype()},
          {"bytes", model.bytes},
          {"parameters", parameters},
          {"longest_sequence", engine::longest_sequence(engine.program)},
          {"inputs", engine.program.inputs},
          {"outputs", outputs},
          {"labels", model.labels},
          {"tokenizer", tokenizer_json(model)},
          {"metadata", model.metadata},
          {"layers", model.graph ? describe_layers(*model.graph) : Json(nullptr)},
          {"steps", steps_json(engine.program)}};
}

std::string model_text(const Model& model, const engine::Engine& engine) {
  const Json json = model_json(model, engine);
  std::string text = fmt::format("{}\n\n", model.name);
  const auto line = [&](std::string_view key, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", key, value);
  };
  line("form",
       json["form"].get<std::string>() == "engine" ? "engine" : "ONNX, understood and proved");
  line("task", std::string(task_name(model.task)));
  line("size",
       fmt::format("{}, {} parameters, mostly {}", human_bytes(static_cast<double>(model.bytes)),
                   json["parameters"].get<std::uint64_t>(), model.dtype()));
  line("inputs",
       fmt::format("{}; at most {} tokens a sequence", fmt::join(engine.program.inputs, ", "),
                   json["longest_sequence"].get<Index>()));
  for (const Json& output : json["outputs"]) {
    line("output", fmt::format("{} [{}, {}]", output["name"].get<std::string>(),
                               output["rows"].get<std::string>(), output["columns"].get<Index>()));
  }
  line("labels",
       model.labels.empty()
           ? "none"
           : fmt::format("{}: {}{}", model.labels.size(),
                         fmt::join(model.labels.begin(),
                                   model.labels.begin() +
                                       std::min<std::ptrdiff_t>(5, std::ssize(model.labels)),
                                   ", "),
                         model.labels.size() > 5 ? ", ..." : ""));
  line("tokenizer",
       model.tokenizer
           ? fmt::format("{}, {} ids{}", text::model_name(model.tokenizer->settings().model),
                         model.tokenizer->id_limit(), case_of(*model.tokenizer))
           : "none");
  for (const auto& [key, value] : model.metadata)
    line(key, value);
  text += "\n";
  Table table({"step", "op", "shape", "precision", "size"});
  for (const engine::Step& step : engine.program.steps) {
    table.add({step_name(engine.program, step), std::string(engine::op_name(step.op)),
               step_shape(engine.program, step), step_precision(engine.program, step),
               human_bytes(static_cast<double>(step_bytes(engine.program, step)))});
  }
  return text + table.text();
}

Json outline_json(const std::string& name, const onnx_io::Outline& outline, const Error& reason) {
  return {{"model", name},
          {"form", "onnx, not understood"},
          {"reason", reason.message()},
          {"producer", outline.producer},
          {"opsets", outline.opsets},
          {"inputs", outline.inputs},
          {"outputs", outline.outputs},
          {"parameters", outline.parameters},
          {"operators", outline.operators}};
}

std::string outline_text(const std::string& name, const onnx_io::Outline& outline) {
  std::string text = fmt::format("{}\n\n", name);
  const auto line = [&](std::string_view key, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", key, value);
  };
  line("form", "ONNX, not understood");
  line("producer", outline.producer);
  for (const auto& [domain, version] : outline.opsets)
    line("opset", fmt::format("{} {}", domain, version));
  for (const std::string& input : outline.inputs)
    line("input", input);
  for (const std::string& output : outline.outputs)
    line("output", output);
  line("parameters", std::to_string(outline.parameters));
  Table table({"operator", "nodes"});
  for (const auto& [op, count] : outline.operators)
    table.add({op, std::to_string(count)});
  return text + "\n" + table.text();
}

/// Shows what a file holds that rtai cannot run; the reason why follows as the error.
Result<int> show_outline(const InspectFlags& flags,
                         const GlobalFlags& global,
                         const Error& reason) {
  const Result<ModelFiles> files = find_model_files(flags.model, silent_log());
  if (!files) return reason;
  const Result<onnx_io::Outline> outline = onnx_io::outline_onnx(files->onnx);
  if (!outline) return reason;
  const std::string name = files->onnx.string();
  if (flags.json) RTAI_TRY_VOID(write_json(outline_json(name, *outline, reason), *flags.json));
  if (!is_stdout(flags.json)) print(global, outline_text(name, *outline));
  return reason;
}

Result<int> run_inspect(const InspectFlags& flags, const GlobalFlags& global, Log& log) {
  Result<Model> loaded = load_model(flags.model, log);
  if (!loaded && loaded.error().code() == ErrorCode::unsupported)
    return show_outline(flags, global, loaded.error());
  RTAI_TRY(const Model model, std::move(loaded));
  RTAI_TRY(const auto engine, make_engine(model));
  if (flags.json) RTAI_TRY_VOID(write_json(model_json(model, *engine), *flags.json));
  if (flags.svg)
    RTAI_TRY_VOID(
        write_file_atomically(*flags.svg, graph_svg(model.name, drawn_steps(engine->program))));
  if (is_stdout(flags.json)) return 0;
  if (!flags.graph) {
    print(global, model_text(model, *engine));
    return 0;
  }
  if (!model.graph) {
    return Error{
        ErrorCode::unsupported,
        fmt::format("{}: an engine has no graph to print; its steps are shown without --graph",
                    flags.model)};
  }
  print(global, ir::print(*model.graph));
  return 0;
}

}  // namespace

void add_inspect(Commands& commands) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App& command = *commands.app.add_subcommand("inspect", "Show what is inside a model");
  command.add_option("model", flags->model, "ONNX file, folder or engine")->required();
  command.add_flag("--graph", flags->graph, "Print the graph as text");
  command.add_option("--svg", flags->svg, "Draw the steps with shapes and precision to this file");
  command.add_option("--json", flags->json, "Write as JSON to this file, - for standard output");
  command.footer("Example: rtai inspect model.rtai --svg graph.svg");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_inspect(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
