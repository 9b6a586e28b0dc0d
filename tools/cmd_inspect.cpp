// rtai inspect: what is inside a model.
#include "libopt/ir/text.h"
#include "runtime/base/atomic_write.h"
#include "runtime/exec/session.h"
#include "tools/cli.h"
#include "tools/json.h"
#include "tools/model.h"
#include "tools/model_files.h"
#include "tools/report/architecture.h"
#include "tools/report/graph_svg.h"
#include "tools/report/optimization.h"
#include "tools/report/outline.h"
#include "tools/report/steps.h"
#include "tools/report/table.h"
#include "tools/understanding.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace rtai::tools {
namespace {

struct InspectFlags {
  std::string model;
  bool graph = false;
  std::optional<std::string> json;
  std::optional<std::string> svg;
};

// Of a charsmap one cannot tell.
std::string_view case_of(const text::Tokenizer& tokenizer) {
  using Kind = text::NormalizerStep::Kind;
  if (tokenizer.settings().normalizes(Kind::lowercase)) return ", lower case";
  return tokenizer.settings().normalizes(Kind::charsmap) ? "" : ", case kept";
}

Json tokenizer_json(const Model& model) {
  if (!model.tokenizer) return nullptr;
  const text::TokenizerSettings& settings = model.tokenizer->settings();
  return {{"kind", text::model_name(settings.model)},
          {"ids", model.tokenizer->id_limit()},
          {"lowercase", settings.normalizes(text::NormalizerStep::Kind::lowercase)},
          {"max_length", settings.max_length}};
}

Json outputs_json(const engine::Program& program) {
  Json outputs = Json::array();
  for (const engine::Output& output : program.outputs) {
    const engine::ValueInfo& value = program.values[static_cast<std::size_t>(output.value)];
    outputs.push_back({{"name", output.name},
                       {"rows", value.rows == engine::Rows::tokens ? "tokens" : "sequences"},
                       {"columns", value.columns}});
  }
  return outputs;
}

Index parameters_of(const engine::Program& program) {
  Index parameters = 0;
  for (const engine::TensorInfo& tensor : program.tensors)
    parameters += tensor.dims[0] * tensor.dims[1];
  return parameters;
}

Json model_json(const Model& model,
                const engine::Program& program,
                std::span<const ZeroWeights> zeros) {
  return {{"model", model.name},
          {"form", model.engine ? "engine" : "onnx"},
          {"task", task_name(model.task)},
          {"dtype", model.dtype()},
          {"bytes", model.bytes},
          {"parameters", parameters_of(program)},
          {"longest_sequence", engine::longest_sequence(program)},
          {"inputs", program.inputs},
          {"outputs", outputs_json(program)},
          {"labels", model.labels},
          {"tokenizer", tokenizer_json(model)},
          {"metadata", model.metadata},
          {"architecture", architecture_json(architecture_of(program))},
          {"layers", model.graph ? describe_layers(*model.graph) : Json(nullptr)},
          {"operators", tally_json(steps_tally(program))},
          {"steps", steps_json(program, zeros)},
          {"file", model.outline ? file_json(*model.outline) : Json(nullptr)}};
}

/// "72: O, B-album, B-artist, ..."
std::string labels_text(const std::vector<std::string>& labels) {
  constexpr std::size_t kMostShown = 5;
  if (labels.empty()) return "none";
  const auto shown = std::span(labels).first(std::min(labels.size(), kMostShown));
  return fmt::format("{}: {}{}", labels.size(), fmt::join(shown, ", "),
                     labels.size() > kMostShown ? ", ..." : "");
}

std::string tokenizer_text(const Model& model) {
  if (!model.tokenizer) return "none";
  return fmt::format("{}, {} ids{}", text::model_name(model.tokenizer->settings().model),
                     model.tokenizer->id_limit(), case_of(*model.tokenizer));
}

std::string model_text(const Model& model,
                       const engine::Program& program,
                       std::span<const ZeroWeights> zeros) {
  Card card;
  card.add("form", model.engine ? "engine" : "ONNX, understood and proved");
  card.add("task", task_name(model.task));
  add_architecture(card, architecture_of(program));
  card.add("size", fmt::format("{}, {} parameters, mostly {}",
                               human_bytes(static_cast<double>(model.bytes)),
                               parameters_of(program), model.dtype()));
  card.add("inputs",
           fmt::format("{}; at most {} tokens a sequence", fmt::join(program.inputs, ", "),
                       engine::longest_sequence(program)));
  for (const Json& output : outputs_json(program)) {
    card.add("output",
             fmt::format("{} [{}, {}]", output["name"].get<std::string>(),
                         output["rows"].get<std::string>(), output["columns"].get<Index>()));
  }
  card.add("labels", labels_text(model.labels));
  card.add("tokenizer", tokenizer_text(model));
  for (const auto& [key, value] : model.metadata) {
    if (key != "task") card.add(key, value);  // said above
  }
  card.add_list("steps", tally_items(steps_tally(program)));
  std::string text = fmt::format("{}\n\n{}", model.name, card.text());
  if (model.outline) {
    Card file;
    add_file(file, *model.outline);
    text += fmt::format("\nthe file\n\n{}", file.text());
  }
  return text + "\n" + steps_text(program, zeros);
}

/// A file that rtai cannot run.
struct Refused {
  std::string name;
  onnx_io::Outline outline;
  std::vector<ir::Obstacle> obstacles;
};

std::vector<std::string> declared_texts(std::span<const onnx_io::DeclaredValue> values) {
  std::vector<std::string> texts;
  for (const onnx_io::DeclaredValue& value : values)
    texts.push_back(declared_text(value));
  return texts;
}

Json refused_json(const Refused& refused, const Error& reason) {
  const onnx_io::Outline& outline = refused.outline;
  return {{"model", refused.name},
          {"form", "onnx, not understood"},
          {"reason", reason.message()},
          {"obstacles", obstacles_json(refused.obstacles)},
          {"obstacle_count", refused.obstacles.size()},
          {"producer", outline.producer},
          {"opsets", outline.opsets},
          {"inputs", declared_texts(outline.inputs)},
          {"outputs", declared_texts(outline.outputs)},
          {"parameters", outline.parameters},
          {"operators", tally_json(outline.operators)},
          {"file", file_json(outline)}};
}

std::string refused_text(const Refused& refused) {
  Card card;
  card.add("form", "ONNX, not understood");
  add_file(card, refused.outline);
  card.add("parameters", std::to_string(refused.outline.parameters));
  const std::string obstacles = obstacles_text(refused.obstacles);
  return fmt::format("{}\n\n{}{}{}", refused.name, card.text(), obstacles.empty() ? "" : "\n",
                     obstacles);
}

/// The node where reading stopped, if that is what happened: "node 'a' (Add): why".
std::vector<ir::Obstacle> node_named_in(const std::string& reason) {
  constexpr std::string_view kNode = "node '";
  constexpr std::string_view kOp = "' (";
  constexpr std::string_view kWhy = "): ";
  const std::size_t node = reason.find(kNode);
  const std::size_t op = reason.find(kOp, node);
  const std::size_t why = reason.find(kWhy, op);
  if (why == std::string::npos) return {};
  const auto between = [&](std::size_t begin, std::size_t end) {
    return reason.substr(begin, end - begin);
  };
  return {{.node = between(node + kNode.size(), op),
           .op = between(op + kOp.size(), why),
           .reason = reason.substr(why + kWhy.size())}};
}

/// Reads the file once more: a model that can be run shall not pay for this.
std::vector<ir::Obstacle> obstacles_of(const std::filesystem::path& file,
                                       const onnx_io::Outline& outline,
                                       const Error& reason) {
  if (!outline.lacking.empty()) return outline.lacking;
  const Result<ir::Graph> imported = onnx_io::import_onnx(file);
  std::vector<ir::Obstacle> obstacles;
  if (imported) obstacles = find_obstacles(*imported);
  return obstacles.empty() ? node_named_in(reason.message()) : obstacles;
}

/// Shows what a file holds that rtai cannot run; the reason why follows as the error.
Result<int> show_refused(const InspectFlags& flags,
                         const GlobalFlags& global,
                         const Error& reason) {
  const Result<ModelFiles> files = find_model_files(flags.model, silent_log());
  if (!files) return reason;
  Result<onnx_io::Outline> outline = onnx_io::outline_onnx(files->onnx);
  if (!outline) return reason;
  const Refused refused{.name = files->onnx.string(),
                        .outline = *outline,
                        .obstacles = obstacles_of(files->onnx, *outline, reason)};
  if (flags.json) RTAI_TRY_VOID(write_json(refused_json(refused, reason), *flags.json));
  if (!is_stdout(flags.json)) print(global, refused_text(refused));
  return reason;
}

/// What a file holds can be shown if it is an ONNX file at all.
bool may_be_shown(const Error& reason) {
  return reason.code() == ErrorCode::unsupported || reason.code() == ErrorCode::invalid_input;
}

Result<int> run_inspect(const InspectFlags& flags, const GlobalFlags& global, Log& log) {
  Result<Model> loaded = load_model(flags.model, log);
  if (!loaded && may_be_shown(loaded.error())) return show_refused(flags, global, loaded.error());
  RTAI_TRY(const Model model, std::move(loaded));
  RTAI_TRY(const auto engine, make_engine(model));
  const std::vector<ZeroWeights> zeros = zero_weights(*engine);
  const engine::Program& program = engine->program;
  if (flags.json) RTAI_TRY_VOID(write_json(model_json(model, program, zeros), *flags.json));
  if (flags.svg)
    RTAI_TRY_VOID(write_file_atomically(*flags.svg, graph_svg(model.name, drawn_steps(program))));
  if (is_stdout(flags.json)) return 0;
  if (!flags.graph) {
    print(global, model_text(model, program, zeros));
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
  command.add_option("--svg", flags->svg, "Draw the steps with shapes and precision to this file")
      ->type_name(kWrittenFile);
  command.add_option("--json", flags->json, "Write as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.footer("Example: rtai inspect model.rtai --svg graph.svg");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_inspect(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
