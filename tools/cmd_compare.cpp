// rtai compare: where two models differ.
#include "tools/cli.h"
#include "tools/gates.h"
#include "tools/json.h"
#include "tools/layer_comparison.h"
#include "tools/metrics.h"
#include "tools/report/table.h"
#include "tools/timing.h"
#include "tools/workload.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace rtai::tools {
namespace {

struct CompareFlags {
  std::string first;
  std::string second;
  std::string data;
  WorkloadFlags workload;
  int worst = 5;
  std::optional<std::string> json;
  std::vector<std::string> fail_if;
};

/// How far the first outputs of two models lie apart on one sample.
struct Difference {
  std::size_t sample = 0;
  double max_error = 0;
  double squared_error = 0;
  double squared_signal = 0;  // of the first model, around its mean
  double cosine = 1;
};

Result<Difference> difference(const SampleOutput& a, const SampleOutput& b, std::size_t sample) {
  if (a.values.size() != b.values.size()) {
    return Error{ErrorCode::invalid_input, "the models give outputs of different sizes"};
  }
  Difference d{.sample = sample};
  const double mean =
      std::accumulate(a.values.begin(), a.values.end(), 0.0) / static_cast<double>(a.values.size());
  double dot = 0;
  double aa = 0;
  double bb = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i) {
    const double x = a.values[i];
    const double y = b.values[i];
    d.max_error = std::max(d.max_error, std::fabs(x - y));
    d.squared_error += (x - y) * (x - y);
    d.squared_signal += (x - mean) * (x - mean);
    dot += x * y;
    aa += x * x;
    bb += y * y;
  }
  d.cosine = aa > 0 && bb > 0 ? dot / std::sqrt(aa * bb) : 1;
  return d;
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

Result<int> run_compare(const CompareFlags& flags, const GlobalFlags& global, Log& log) {
  RTAI_TRY(const std::vector<Gate> gates, parse_gates(flags.fail_if));
  RTAI_TRY(const Workload workload, flags.workload.resolve(global));
  RTAI_TRY(const Model first, load_model(flags.first, log));
  RTAI_TRY(const Model second, load_model(flags.second, log));
  RTAI_TRY(const std::vector<Sample> samples, read_samples(flags.data));
  RTAI_TRY(Predictor a, make_predictor(first, workload.threads, workload.target));
  RTAI_TRY(Predictor b, make_predictor(second, workload.threads, workload.target));
  std::vector<text::Encoding> encodings;
  for (const Sample& sample : samples) {
    RTAI_TRY(text::Encoding encoding, encode_for(first, sample));
    encodings.push_back(std::move(encoding));
  }
  RTAI_TRY(const auto outputs_a, a.run(encodings, log));
  RTAI_TRY(const auto outputs_b, b.run(encodings, log));

  std::vector<Difference> differences;
  double squared_error = 0;
  double squared_signal = 0;
  double max_error = 0;
  double cosine = 0;
  for (std::size_t i = 0; i < samples.size(); ++i) {
    RTAI_TRY(const Difference d, difference(outputs_a[i].front(), outputs_b[i].front(), i));
    squared_error += d.squared_error;
    squared_signal += d.squared_signal;
    max_error = std::max(max_error, d.max_error);
    cosine += d.cosine / static_cast<double>(samples.size());
    differences.push_back(d);
  }
  const double nmse = squared_signal > 0 ? squared_error / squared_signal : 0;
  std::optional<double> agreed;
  const bool has_answers =
      first.task != Task::unknown && first.task != Task::question_answering;  // those need a text
  if (has_answers && first.task == second.task) {
    std::vector<Answer> answers_a;
    std::vector<Answer> answers_b;
    for (std::size_t i = 0; i < samples.size(); ++i) {
      RTAI_TRY(Answer answer_a, make_answer(first, samples[i], encodings[i], outputs_a[i]));
      RTAI_TRY(Answer answer_b, make_answer(second, samples[i], encodings[i], outputs_b[i]));
      answers_a.push_back(std::move(answer_a));
      answers_b.push_back(std::move(answer_b));
    }
    agreed = agreement(second, answers_b, first, answers_a);
  }
  std::stable_sort(
      differences.begin(), differences.end(),
      [](const Difference& x, const Difference& y) { return x.max_error > y.max_error; });
  differences.resize(std::min(differences.size(), static_cast<std::size_t>(flags.worst)));

  // Enough texts to tell the layers apart.
  constexpr std::size_t kLayerTexts = 64;
  RTAI_TRY(const std::vector<LayerDifference> layers,
           compare_layers(first, second,
                          std::span(encodings).first(std::min(encodings.size(), kLayerTexts)),
                          workload.threads, workload.target));

  RTAI_TRY(const auto engine_a, make_engine(first));
  RTAI_TRY(const auto engine_b, make_engine(second));
  RTAI_TRY(BenchSession bench_a, BenchSession::create(engine_a, workload, false));
  RTAI_TRY(BenchSession bench_b, BenchSession::create(engine_b, workload, false));
  for (int round = 0; round < 12; ++round) {  // in turn; the first two rounds warm up
    RTAI_TRY_VOID(bench_a.measure(5, round > 1));
    RTAI_TRY_VOID(bench_b.measure(5, round > 1));
  }
  const LatencySummary latency_a = bench_a.finish().latency;
  const LatencySummary latency_b = bench_b.finish().latency;

  if (flags.json) {
    Json worst = Json::array();
    for (const Difference& d : differences) {
      worst.push_back({{"sample", d.sample + 1},
                       {"text", samples[d.sample].text},
                       {"max_error", d.max_error},
                       {"cosine", d.cosine}});
    }
    Json by_layer = Json::array();
    for (const LayerDifference& layer : layers)
      by_layer.push_back({{"name", layer.name}, {"cosine", layer.cosine}, {"nmse", layer.nmse}});
    RTAI_TRY_VOID(write_json({{"a", flags.first},
                              {"b", flags.second},
                              {"samples", samples.size()},
                              {"agreement", agreed ? Json(*agreed) : Json(nullptr)},
                              {"max_error", max_error},
                              {"nmse", nmse},
                              {"cosine", cosine},
                              {"p50_ms", {{"a", latency_a.p50}, {"b", latency_b.p50}}},
                              {"layers", by_layer},
                              {"worst", worst}},
                             *flags.json));
  }
  if (!is_stdout(flags.json)) {
    std::string text =
        fmt::format("a: {}\nb: {}\n{} samples\n\n", flags.first, flags.second, samples.size());
    if (agreed) text += fmt::format("  agreement  {:.2f} %\n", 100 * *agreed);
    text += fmt::format("  max error  {:.3g}\n  nmse       {:.3g}\n  cosine     {:.6f}\n",
                        max_error, nmse, cosine);
    text += fmt::format("  p50        {} and {} ({:.2f}x)\n\n", human_ms(latency_a.p50),
                        human_ms(latency_b.p50), latency_a.p50 / latency_b.p50);
    text += layer_table(layers) + "largest differences\n\n";
    Table table({"text", "sample", "max error", "cosine"});
    for (const Difference& d : differences) {
      table.add({code_point_range(samples[d.sample].text, 0, 60), fmt::format("{}", d.sample + 1),
                 fmt::format("{:.3g}", d.max_error), fmt::format("{:.5f}", d.cosine)});
    }
    print(global, text + table.text());
  }
  Figures figures = {{"max_error", max_error}, {"nmse", nmse}, {"cosine", cosine}};
  if (agreed) figures["agreement"] = *agreed;
  RTAI_TRY(const std::vector<std::string> missed, missed_gates(gates, figures));
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
  command.add_option("--data", flags->data, "Texts: .txt, .jsonl, .csv or .tsv")->required();
  command.add_option("--worst", flags->worst, "How many of the worst samples to show")
      ->check(CLI::Range(0, 1000))
      ->capture_default_str();
  command.add_option("--json", flags->json, "Write as JSON to this file, - for standard output");
  command.add_option("--fail-if", flags->fail_if,
                     "Exit with 7 if this holds, as in 'agreement<0.99'");
  flags->workload.add_to(command);
  command.footer("Example: rtai compare model.onnx model.rtai --data texts.txt");
  command.callback([flags, &commands] {
    commands.chosen = [flags, &global = commands.flags](Log& log) {
      return run_compare(*flags, global, log);
    };
  });
}

}  // namespace rtai::tools
