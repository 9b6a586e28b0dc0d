// rtai compare: where two models differ.
#include "tools/cli.h"
#include "tools/gates.h"
#include "tools/json.h"
#include "tools/layer_comparison.h"
#include "tools/metrics.h"
#include "tools/output_comparison.h"
#include "tools/report/table.h"
#include "tools/timing.h"
#include "tools/workload.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace rtai::tools {
namespace {

struct CompareFlags {
  std::string first;
  std::string second;
  std::string data;
  WorkloadFlags workload;
  int worst = 5;
  std::string save_worst;
  std::optional<std::string> json;
  std::vector<std::string> fail_if;
};

/// All that is said about two models.
struct Findings {
  std::optional<double> agreement = {};   // where both give the same kind of answer
  std::vector<OutputDifference> outputs;  // at least one
  std::vector<WorstSample> worst = {};
  std::vector<LayerDifference> layers = {};
  double p50_a_ms = 0;
  double p50_b_ms = 0;
};

/// What samples are, and what both models make of them.
struct Outcomes {
  std::vector<Sample> samples;
  std::vector<text::Encoding> encodings;
  std::vector<std::vector<SampleOutput>> a;  // [samples][outputs]
  std::vector<std::vector<SampleOutput>> b;
};

struct OutputFigure {
  const char* name;  // in JSON and in gates
  std::optional<double> value;
};

std::vector<OutputFigure> figures_of_output(const OutputDifference& difference) {
  return {{"max_error", difference.max_error},
          {"mean_error", difference.mean_error},
          {"max_relative_error", difference.max_relative_error},
          {"nmse", difference.nmse},
          {"cosine", difference.cosine},
          {"kl", difference.kl},
          {"max_kl", difference.max_kl}};
}

/// "start_logits.max_error" for every output, "max_error" for the first.
Figures figures_of(const Findings& findings) {
  Figures figures;
  if (findings.agreement) figures["agreement"] = *findings.agreement;
  for (const OutputDifference& output : findings.outputs) {
    for (const OutputFigure& figure : figures_of_output(output)) {
      if (!figure.value) continue;
      figures[fmt::format("{}.{}", output.name, figure.name)] = *figure.value;
      if (&output == &findings.outputs.front()) figures[figure.name] = *figure.value;
    }
  }
  return figures;
}

/// Answers to questions need to know where the text stands among the tokens.
bool give_the_same_kind_of_answer(const Model& first, const Model& second) {
  return first.task == second.task && first.task != Task::unknown &&
         first.task != Task::question_answering;
}

std::vector<OutputDifference> compare_outputs(const std::vector<SharedOutput>& shared,
                                              const Outcomes& outcomes) {
  std::vector<OutputDifference> differences;
  for (const SharedOutput& output : shared)
    differences.push_back(compare_output(output, outcomes.a, outcomes.b));
  return differences;
}

Result<std::vector<Answer>> answers_of(const Model& model,
                                       const Outcomes& outcomes,
                                       const std::vector<std::vector<SampleOutput>>& outputs) {
  std::vector<Answer> answers;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    RTAI_TRY(Answer answer,
             make_answer(model, outcomes.samples[i], outcomes.encodings[i], outputs[i]));
    answers.push_back(std::move(answer));
  }
  return answers;
}

Result<void> measure_in_turn(const Model& first,
                             const Model& second,
                             const Workload& workload,
                             Findings& findings) {
  constexpr int kRuns = 50;
  std::vector<std::shared_ptr<const engine::Engine>> engines;
  for (const Model* model : {&first, &second}) {
    RTAI_TRY(auto engine, make_engine(*model));
    engines.push_back(std::move(engine));
  }
  RTAI_TRY(const std::vector<TurnTimes> times, bench_in_turns(engines, workload, kRuns));
  findings.p50_a_ms = times[0].latency.p50;
  findings.p50_b_ms = times[1].latency.p50;
  return {};
}

Json findings_json(const CompareFlags& flags,
                   const std::vector<Sample>& samples,
                   const Findings& findings) {
  const auto add_figures = [](const OutputDifference& output, Json& object) {
    for (const OutputFigure& figure : figures_of_output(output))
      object[figure.name] = figure.value ? Json(*figure.value) : Json(nullptr);
  };
  Json document = {{"a", flags.first},
                   {"b", flags.second},
                   {"samples", samples.size()},
                   {"agreement", findings.agreement ? Json(*findings.agreement) : Json(nullptr)}};
  add_figures(findings.outputs.front(), document);
  document["outputs"] = Json::array();
  for (const OutputDifference& output : findings.outputs) {
    Json object = {{"name", output.name}};
    add_figures(output, object);
    document["outputs"].push_back(std::move(object));
  }
  document["p50_ms"] = {{"a", findings.p50_a_ms}, {"b", findings.p50_b_ms}};
  document["layers"] = Json::array();
  for (const LayerDifference& layer : findings.layers)
    document["layers"].push_back(
        {{"name", layer.name}, {"cosine", layer.cosine}, {"nmse", layer.nmse}});
  document["worst"] = Json::array();
  for (const WorstSample& worst : findings.worst) {
    const OutputDifference& output = findings.outputs[worst.output];
    document["worst"].push_back({{"sample", worst.sample + 1},
                                 {"text", samples[worst.sample].text},
                                 {"output", output.name},
                                 {"max_error", output.samples[worst.sample].max_error},
                                 {"cosine", output.samples[worst.sample].cosine}});
  }
  return document;
}

std::string output_table(const std::vector<OutputDifference>& outputs) {
  Table table(
      {"output", "max error", "mean error", "max relative", "nmse", "cosine", "mean KL", "max KL"});
  const auto kl_cell = [](const std::optional<double>& kl) {
    return kl ? fmt::format("{:.3g}", *kl) : std::string("-");
  };
  for (const OutputDifference& d : outputs) {
    table.add({d.name, fmt::format("{:.3g}", d.max_error), fmt::format("{:.3g}", d.mean_error),
               fmt::format("{:.3g}", d.max_relative_error), fmt::format("{:.3g}", d.nmse),
               fmt::format("{:.6f}", d.cosine), kl_cell(d.kl), kl_cell(d.max_kl)});
  }
  return table.text() + "\n";
}

/// Where the values part, from the embedding on.
std::string layer_table(const std::vector<LayerDifference>& layers) {
  if (layers.empty()) return "no layers of the two models correspond\n\n";
  Table table({"behind", "cosine", "nmse"});
  for (const LayerDifference& layer : layers) {
    table.add({layer.name, fmt::format("{:.6f}", layer.cosine), fmt::format("{:.2e}", layer.nmse)});
  }
  return table.text() + "\n";
}

std::string worst_table(const std::vector<Sample>& samples, const Findings& findings) {
  Table table({"text", "sample", "output", "max error", "cosine"});
  for (const WorstSample& worst : findings.worst) {
    const OutputDifference& output = findings.outputs[worst.output];
    table.add({code_point_range(samples[worst.sample].text, 0, 60),
               fmt::format("{}", worst.sample + 1), output.name,
               fmt::format("{:.3g}", output.samples[worst.sample].max_error),
               fmt::format("{:.5f}", output.samples[worst.sample].cosine)});
  }
  return table.text();
}

std::string findings_text(const CompareFlags& flags,
                          const std::vector<Sample>& samples,
                          const Findings& findings) {
  std::string text =
      fmt::format("a: {}\nb: {}\n{} samples\n\n", flags.first, flags.second, samples.size());
  if (findings.agreement) text += fmt::format("  agreement  {:.2f} %\n", 100 * *findings.agreement);
  text += fmt::format("  p50        {} and {} ({:.2f}x)\n\n", human_ms(findings.p50_a_ms),
                      human_ms(findings.p50_b_ms), findings.p50_a_ms / findings.p50_b_ms);
  return text + output_table(findings.outputs) + layer_table(findings.layers) +
         "largest differences\n\n" + worst_table(samples, findings);
}

Result<void> save_worst(const std::vector<Sample>& samples,
                        const Findings& findings,
                        const std::string& path) {
  std::vector<Sample> worst;
  for (const WorstSample& one : findings.worst)
    worst.push_back(samples[one.sample]);
  return write_samples(worst, path);
}

/// The outputs to compare. Those that one model alone has are told, and gates on figures that there
/// will not be are refused, before a sample is run.
Result<std::vector<SharedOutput>> outputs_to_compare(const Model& first,
                                                     const Model& second,
                                                     const Predictor& a,
                                                     const Predictor& b,
                                                     const std::vector<Gate>& gates,
                                                     Log& log) {
  const engine::Program& program_a = a.engine().program;
  const engine::Program& program_b = b.engine().program;
  RTAI_TRY(std::vector<SharedOutput> shared, shared_outputs(first, program_a, program_b));
  const std::size_t most = std::max(program_a.outputs.size(), program_b.outputs.size());
  if (shared.size() < most) {
    log.warning(fmt::format("{} of {} outputs are compared: the others are in one model only",
                            shared.size(), most));
  }
  Findings none{.outputs = compare_outputs(shared, {})};
  if (give_the_same_kind_of_answer(first, second)) none.agreement = 0;
  RTAI_TRY_VOID(judge_gates(gates, figures_of(none)));
  return shared;
}

Result<int> run_compare(const CompareFlags& flags, const GlobalFlags& global, Log& log) {
  RTAI_TRY(const std::vector<Gate> gates, parse_gates(flags.fail_if));
  RTAI_TRY(const Workload workload, flags.workload.resolve(global));
  RTAI_TRY(const Model first, load_model(flags.first, log));
  RTAI_TRY(const Model second, load_model(flags.second, log));
  Outcomes outcomes;
  RTAI_TRY(outcomes.samples, read_samples(flags.data));
  RTAI_TRY(Predictor a, make_predictor(first, workload.threads, workload.target));
  RTAI_TRY(Predictor b, make_predictor(second, workload.threads, workload.target));
  RTAI_TRY(const std::vector<SharedOutput> shared,
           outputs_to_compare(first, second, a, b, gates, log));
  for (const Sample& sample : outcomes.samples) {
    RTAI_TRY(text::Encoding encoding, encode_for(first, sample));
    outcomes.encodings.push_back(std::move(encoding));
  }
  RTAI_TRY(outcomes.a, a.run(outcomes.encodings, log));
  RTAI_TRY(outcomes.b, b.run(outcomes.encodings, log));

  Findings findings{.outputs = compare_outputs(shared, outcomes)};
  findings.worst = worst_samples(findings.outputs, static_cast<std::size_t>(flags.worst));
  if (give_the_same_kind_of_answer(first, second)) {
    RTAI_TRY(const std::vector<Answer> of_a, answers_of(first, outcomes, outcomes.a));
    RTAI_TRY(const std::vector<Answer> of_b, answers_of(second, outcomes, outcomes.b));
    findings.agreement = agreement(second, of_b, first, of_a);
  }
  // Enough texts to tell the layers apart.
  constexpr std::size_t kLayerTexts = 64;
  const auto texts =
      std::span(outcomes.encodings).first(std::min(outcomes.encodings.size(), kLayerTexts));
  RTAI_TRY(findings.layers,
           compare_layers(first, second, texts, workload.threads, workload.target));
  RTAI_TRY_VOID(measure_in_turn(first, second, workload, findings));

  if (!flags.save_worst.empty())
    RTAI_TRY_VOID(save_worst(outcomes.samples, findings, flags.save_worst));
  if (flags.json)
    RTAI_TRY_VOID(write_json(findings_json(flags, outcomes.samples, findings), *flags.json));
  if (!is_stdout(flags.json)) print(global, findings_text(flags, outcomes.samples, findings));
  RTAI_TRY(const std::vector<std::string> missed, missed_gates(gates, figures_of(findings)));
  for (const std::string& line : missed)
    log.warning("gate missed: " + line);
  return missed.empty() ? 0 : exit_code(ErrorCode::gate);
}

}  // namespace

void add_compare(Commands& commands) {
  auto flags = std::make_shared<CompareFlags>();
  CLI::App& command =
      *commands.app.add_subcommand("compare", "Show where the outputs of two models differ");
  command.add_option("a", flags->first, "The model that is right")->required();
  command.add_option("b", flags->second, "The model to compare with it")->required();
  command.add_option("--data", flags->data, "Texts: .txt, .jsonl, .csv or .tsv")
      ->type_name("FILE")
      ->required();
  command.add_option("--worst", flags->worst, "How many of the worst samples to show")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command
      .add_option("--save-worst", flags->save_worst,
                  "Write these samples to a .jsonl file that --data reads")
      ->type_name(kWrittenFile)
      ->check([](const std::string& path) {
        return path.ends_with(".jsonl") ? std::string() : "expected a name that ends in .jsonl";
      });
  command.add_option("--json", flags->json, "Write as JSON to this file, - for standard output")
      ->type_name(kWrittenFile);
  command.add_option(
      "--fail-if", flags->fail_if,
      "Exit with 7 if this holds, as in 'agreement<0.99' or 'pooler_output.max_error>1e-3'; "
      "without an output's name a figure is the first one's");
  flags->workload.add_to(command);
  command.footer(
      "Examples: rtai compare model.onnx model.rtai --data texts.txt\n"
      "          rtai compare qa.onnx qa.rtai --data questions.jsonl --fail-if "
      "'end_logits.max_kl>0.01'");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_compare(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
