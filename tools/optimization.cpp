#include "tools/optimization.h"

#include "libopt/ir/encoder.h"
#include "libopt/prune/judge.h"
#include "libopt/prune/texts.h"
#include "libopt/quant/calibration.h"
#include "passes/passes.h"
#include "tools/flag_values.h"
#include "tools/report/optimization_page.h"
#include "tools/report/table.h"
#include "tools/written_files.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <tuple>

namespace rtai::tools {
namespace {

/// Without labels or another bound, a changed model must give nearly every answer of the old one.
constexpr double kLeastAgreement = 0.99;

/// Runs whose median is reported.
constexpr int kMeasuredRuns = 60;
/// Times that both models are measured where a goal is judged by it, each time with engines of
/// their own: where an engine happens to lie in memory is worth a percent or two.
constexpr int kMeasurements = 3;

/// Texts to calibrate with, and every fifth to judge with; all for both where there are few.
std::pair<std::vector<Sample>, std::vector<Sample>> held_back(std::vector<Sample> samples) {
  constexpr std::size_t kStep = 5;
  constexpr std::size_t kFew = 50;
  if (samples.size() < kFew) return {samples, samples};
  std::pair<std::vector<Sample>, std::vector<Sample>> parts;
  for (std::size_t i = 0; i < samples.size(); ++i)
    (i % kStep == kStep - 1 ? parts.second : parts.first).push_back(std::move(samples[i]));
  return parts;
}

/// Texts in a language that the vocabulary does not have calibrate nothing.
void warn_of_unknown(const TokenBatch& texts,
                     const text::Tokenizer* tokenizer,
                     const std::string& file,
                     Log& log) {
  constexpr double kMany = 0.1;
  if (tokenizer == nullptr) return;
  const std::optional<std::int32_t> unknown = tokenizer->id_of(tokenizer->settings().model.unknown);
  if (!unknown) return;
  const double share = static_cast<double>(std::ranges::count(texts.ids, *unknown)) /
                       static_cast<double>(texts.tokens());
  if (share < kMany) return;
  log.warning(
      fmt::format("{}: {:.0f} % of the tokens are not in the model's vocabulary; are these "
                  "texts in its language?",
                  file, 100 * share));
}

}  // namespace

void OptimizationFlags::add_to(CLI::App& command) {
  command.add_option("model", model, "ONNX file or folder")->required();
  command.add_option("-o,--output", output, "Where to write: .onnx, .rtai or a folder")
      ->type_name(kWrittenFile)
      ->required();
  command
      .add_option("--calib", calibration,
                  "Texts that look like those to come: .txt, .jsonl, .csv or .tsv")
      ->type_name("FILE");
  command.add_option("--calib-texts", calibration_texts, "How many of them to use")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command
      .add_option("--eval", evaluation, "Labelled .jsonl, .csv or .tsv file to measure quality on")
      ->type_name("FILE");
  command.add_option("--max-drop", max_drop,
                     "Exit with 7 if more points than this are lost: of the metric, or of "
                     "agreement without labels");
  command.add_option("--report", report, "Write the report as JSON to this file")
      ->type_name(kWrittenFile);
  command.add_option("--json", json, "As --report; - for standard output")->type_name(kWrittenFile);
  reports.add_to(command);
  command.add_flag("--dry-run", dry_run,
                   "Check the model, the texts and the flags, show the plan, and stop");
  workload.add_to(command);
}

void OptimizationFlags::add_time_budget_to(CLI::App& command) {
  command
      .add_option("--time-budget", time_budget_s,
                  "Seconds after which pruning finishes with the best it has")
      ->transform(as_seconds())
      ->check(above_zero());
}

void WeightFlags::add_to(CLI::App& command) {
  command
      .add_option("--weights", weights,
                  "int4: FFN layers and embedding tables take 4 bits in the file, the rest 8; what "
                  "is computed is int8 all the same")
      ->check(CLI::IsMember({"int8", "int4"}))
      ->capture_default_str();
  command
      .add_option("--group", group, "Weights of a row that share a multiplier with --weights int4")
      ->check(CLI::IsMember({32, 64, 128}))
      ->capture_default_str();
}

std::string WeightFlags::pass_options() const {
  return weights == "int8" ? "" : fmt::format(",weights={},group={}", weights, group);
}

void WeightFlags::add_to(Json& request) const {
  if (weights == "int8") return;
  request["weights"] = weights;
  request["group"] = group;
}

void CalibrationFlags::add_to(CLI::App& command) {
  command
      .add_option("--calibration", method,
                  "How static scales are chosen: minmax, percentile, mse or entropy")
      ->check(CLI::IsMember(std::vector<std::string>(quant::kCalibrationMethods.begin(),
                                                     quant::kCalibrationMethods.end())))
      ->capture_default_str();
  command
      .add_option(
          "--percentile", percentile,
          fmt::format("How many % of the magnitudes a static scale covers with --calibration "
                      "percentile (default: {})",
                      quant::Calibration().percentile))
      ->check(CLI::Range(90.0, 100.0));
}

Result<void> CalibrationFlags::check(const std::string& mode) const {
  if (percentile && method != "percentile")
    return Error{ErrorCode::invalid_input, "--percentile: expected --calibration percentile"};
  if (mode == "dynamic" && method != CalibrationFlags().method) {
    return Error{ErrorCode::invalid_input,
                 fmt::format("--calibration {}: expected --mode static or auto, found dynamic, "
                             "which has no static scales",
                             method)};
  }
  return {};
}

std::string CalibrationFlags::pass_options() const {
  std::string options;
  if (method != CalibrationFlags().method) options += ",calibration=" + method;
  if (percentile) options += fmt::format(",percentile={}", *percentile);
  return options;
}

void CalibrationFlags::add_to(Json& request) const {
  if (method != CalibrationFlags().method) request["calibration"] = method;
  if (percentile) request["percentile"] = *percentile;
}

namespace {

/// A gate that nothing can be held against would always open.
Result<void> check_gate(const OptimizationFlags& flags, const Model& model) {
  if (!flags.max_drop) return {};
  if (!flags.evaluation && !flags.calibration) {
    return invalid_input(fmt::format(
        "--max-drop {}: expected --eval with labels, or --calib, to judge by", *flags.max_drop));
  }
  if (model.task == Task::unknown) {
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: what this model is for is not known, so --max-drop cannot be "
                             "judged; a config.json beside it says so",
                             flags.model)};
  }
  return {};
}

/// The files that reports go to, in the order of writing.
std::vector<std::string> report_files(const OptimizationFlags& flags) {
  std::vector<std::string> files;
  for (const auto& file : {flags.report, flags.json, flags.reports.html, flags.reports.markdown,
                           flags.reports.junit}) {
    if (file && !is_stdout(file)) files.push_back(*file);
  }
  return files;
}

/// What may help where too much quality was lost.
std::string hint_for_quality(const OptimizationReport& report) {
  if (report.command == "quantize") {
    return report.request.value("mode", "") == "auto"
               ? "--keep-float leaves as they are the layers that the report calls most sensitive"
               : "--mode auto with --calib TEXTS leaves as they are what int8 would harm";
  }
  if (report.command == "prune-vocab") return "more texts for --calib keep more tokens";
  return report.request.contains("refine_s")
             ? "a longer --refine, more --calib texts or a smaller goal"
             : "--refine 60 wins quality back; so do more --calib texts or a smaller goal";
}

}  // namespace

Optimization::Optimization(const OptimizationFlags& flags,
                           const GlobalFlags& global,
                           Model model,
                           Workload workload,
                           Log& log,
                           Deployment deployment)
    : flags_(&flags),
      global_(&global),
      log_(&log),
      model_(std::move(model)),
      graph_before_(*model_.graph),
      metadata_before_(model_.metadata),
      workload_(std::move(workload)),
      evaluator_(workload_, deployment),
      started_(std::chrono::steady_clock::now()) {
  if (flags.time_budget_s) time_ = TimeBudget(std::chrono::duration<double>(*flags.time_budget_s));
}

Result<Optimization> Optimization::start(std::string command,
                                         const OptimizationFlags& flags,
                                         const GlobalFlags& global,
                                         Log& log,
                                         Deployment deployment) {
  RTAI_TRY_VOID(check_output_path(flags.output));
  RTAI_TRY(Model model, load_model(flags.model, log));
  RTAI_TRY(Workload workload,
           flags.workload.resolve(global, model.tokenizer ? &*model.tokenizer : nullptr));
  if (!model.graph) {
    return Error{ErrorCode::unsupported,
                 fmt::format("{}: an engine is finished; {} the ONNX model it was made from",
                             flags.model, command)};
  }
  RTAI_TRY_VOID(check_gate(flags, model));
  Optimization work(flags, global, std::move(model), std::move(workload), log, deployment);
  work.report_.command = std::move(command);
  work.report_.model = flags.model;
  work.report_.output = flags.output;
  work.report_.workload = workload_text(work.workload_);
  if (deployment == Deployment::int8) work.report_.workload += ", as int8";
  work.report_.seed = global.seed;
  work.report_.bytes_before = work.model_.bytes;
  if (flags.calibration) {
    RTAI_TRY(std::vector<Sample> samples, read_samples(*flags.calibration));
    if (std::ssize(samples) > flags.calibration_texts)
      samples.resize(static_cast<std::size_t>(flags.calibration_texts));
    const text::Tokenizer* tokenizer = work.model_.tokenizer ? &*work.model_.tokenizer : nullptr;
    work.samples_ = samples;
    if (work.report_.command == "quantize" && !flags.evaluation)
      std::tie(samples, work.samples_) = held_back(std::move(samples));
    RTAI_TRY(work.calibration_, encode_all(samples, tokenizer).in(*flags.calibration));
    warn_of_unknown(work.calibration_, tokenizer, *flags.calibration, log);
  }
  if (flags.evaluation) {
    RTAI_TRY(work.samples_, read_samples(*flags.evaluation));
    RTAI_TRY_VOID(check_labels(work.model_, work.samples_, log).in(*flags.evaluation));
    if (!are_labelled(work.samples_)) {
      log.warning(fmt::format(
          "{}: some texts have no labels; answers are held against those of the model before",
          *flags.evaluation));
    }
  }
  if (!flags.dry_run) RTAI_TRY_VOID(work.measure_before());
  return work;
}

Result<void> Optimization::measure_before() {
  if (samples_.empty() || model_.task == Task::unknown) return {};
  RTAI_TRY(Evaluation evaluation,
           evaluate(model_, samples_, workload_.threads, workload_.target, *log_));
  report_.quality_before = Quality{evaluation.score.metric, evaluation.score.value, std::nullopt};
  answers_before_ = std::move(evaluation.answers);
  return {};
}

int Optimization::print_plan(const std::vector<std::string>& steps) const {
  std::vector<std::string> lines = {fmt::format("read {}: {} layers, {}", flags_->model,
                                                ir::find_layers(*model_.graph).size(),
                                                human_bytes(static_cast<double>(model_.bytes)))};
  if (calibration_.sequences() > 0) {
    lines.push_back(fmt::format("calibrate with {} texts, {} tokens", calibration_.sequences(),
                                calibration_.ids.size()));
  }
  const std::string quality = samples_.empty() || model_.task == Task::unknown
                                  ? "latency"
                                  : fmt::format("quality on {} texts and latency", samples_.size());
  lines.push_back(fmt::format("measure {} before ({})", quality, report_.workload));
  lines.insert(lines.end(), steps.begin(), steps.end());
  lines.push_back(fmt::format("write {}", flags_->output));
  lines.push_back(fmt::format("measure {} after, both models in turn", quality));
  if (flags_->max_drop)
    lines.push_back(fmt::format("gate: exit with 7 if more than {} points of {} are lost",
                                *flags_->max_drop,
                                are_labelled(samples_) ? "the metric" : "agreement"));
  for (const std::string& report : report_files(*flags_))
    lines.push_back(fmt::format("write the report to {}", report));
  std::string text = "plan, nothing was written:\n";
  for (std::size_t i = 0; i < lines.size(); ++i)
    text += fmt::format("{:>3}. {}\n", i + 1, lines[i]);
  print(*global_, text);
  return 0;
}

Result<std::vector<PassRecord>> Optimization::run_on(ir::Graph& graph,
                                                     const std::string& pipeline) {
  PassContext context{.calibration = calibration_.sequences() > 0 ? &calibration_ : nullptr,
                      .evaluator = &evaluator_,
                      .log = log_,
                      .seed = global_->seed,
                      .time = time_};
  return run_pipeline(pipeline, graph, context, passes::make);
}

Result<void> Optimization::run(const std::string& pipeline) {
  RTAI_TRY(std::vector<PassRecord> records, run_on(*model_.graph, pipeline));
  record(pipeline, std::move(records));
  return {};
}

void Optimization::record(const std::string& pipeline, std::vector<PassRecord> records) {
  std::string& history = model_.metadata["pipeline"];
  history += (history.empty() ? "" : ",") + pipeline;
  for (PassRecord& one : records)
    report_.passes.push_back(std::move(one));
}

Result<Trial> Optimization::try_instead(const std::string& pipeline) {
  Trial trial{.pipeline = pipeline, .graph = graph_before_, .records = {}, .quality = std::nullopt};
  RTAI_TRY(trial.records, run_on(trial.graph, pipeline));
  std::swap(*model_.graph, trial.graph);
  Result<std::optional<Quality>> quality = measure_quality();
  std::swap(*model_.graph, trial.graph);
  RTAI_TRY(trial.quality, std::move(quality));
  return trial;
}

void Optimization::adopt(Trial trial) {
  start_over();
  model_.graph = std::move(trial.graph);
  record(trial.pipeline, std::move(trial.records));
}

Result<double> Optimization::divergence_of(const ir::Graph& graph) {
  constexpr double kSwapped = 0.2;
  constexpr Index kMostTokens = 8'192;
  constexpr std::uint64_t kSalt = 0x6a09e667;  // other words than any pass swaps
  const TokenBatch texts = prune::first_tokens(
      prune::swap_words(calibration_, 1, kSwapped, global_->seed ^ kSalt), kMostTokens);
  RTAI_TRY(prune::Judge judge, prune::Judge::make(graph_before_, texts, evaluator_));
  return judge.divergence(graph);
}

Result<void> Optimization::change(const std::string& name,
                                  const std::function<Result<PassReport>(Model&)>& work) {
  const auto begin = std::chrono::steady_clock::now();
  PassRecord record{
      .name = name, .report = {}, .before = ir::footprint(*model_.graph), .after = {}};
  RTAI_TRY(record.report, work(model_).in(name));
  record.time = std::chrono::steady_clock::now() - begin;
  record.after = ir::footprint(*model_.graph);
  this->record(name, {std::move(record)});
  return {};
}

Result<void> Optimization::measure_after() {
  // Both in turn, so that a drift of the machine's speed touches both.
  const ir::Graph graphs[] = {graph_before_, *model_.graph};
  const int measurements = gate_ ? kMeasurements : 1;
  std::vector<double> before;  // ms
  std::vector<double> after;
  double logarithms = 0;
  for (int i = 0; i < measurements; ++i) {
    RTAI_TRY(const std::vector<TurnTimes> times, evaluator_.bench_deployed(graphs, kMeasuredRuns));
    before.insert(before.end(), times[0].samples.begin(), times[0].samples.end());
    after.insert(after.end(), times[1].samples.begin(), times[1].samples.end());
    logarithms += std::log(times[0].comparable_ms / times[1].comparable_ms);
  }
  report_.latency_before = summarize(std::move(before));
  report_.latency_after = summarize(std::move(after));
  report_.speedup = std::exp(logarithms / measurements);
  report_.layers = describe_layers(*model_.graph);
  RTAI_TRY(report_.quality_after, measure_quality());
  return {};
}

Result<std::optional<Quality>> Optimization::measure_quality() const {
  if (!report_.quality_before) return std::optional<Quality>();
  RTAI_TRY(const Evaluation evaluation,
           evaluate(model_, samples_, workload_.threads, workload_.target, *log_));
  const Distance far = distance(model_, evaluation.answers, answers_before_);
  return Quality{evaluation.score.metric, evaluation.score.value,
                 agreement(model_, evaluation.answers, model_, answers_before_), far.nmse, far.kl};
}

Result<bool> Optimization::agrees() const {
  RTAI_TRY(const std::optional<Quality> quality, measure_quality());
  return !quality || *quality->agreement >= kLeastAgreement;
}

void Optimization::start_over() {
  model_.graph = graph_before_;
  model_.metadata = metadata_before_;
  report_.passes.clear();
}

void Optimization::judge() {
  if (gate_) {
    if (auto verdict = gate_(report_)) report_.verdicts.push_back(*std::move(verdict));
  }
  if (!report_.quality_after) return;
  const Quality& before = *report_.quality_before;
  const Quality& after = *report_.quality_after;
  const std::string hint = hint_for_quality(report_);
  const Loss loss = loss_of(before, after);
  if (flags_->max_drop) {
    report_.verdicts.push_back(
        {.text = fmt::format("max-drop {}: {:.2f} points of {} lost", *flags_->max_drop,
                             loss.points, loss.of),
         .is_missed = !(loss.points <= *flags_->max_drop),  // not a number is lost, too
         .hint = hint});
  } else if (report_.command != "quantize") {
    constexpr double kWorthAWord = 1;
    if (!(loss.points <= kWorthAWord))
      log_->warning(fmt::format("{:.2f} points of {} were lost; --max-drop says how many may be",
                                loss.points, loss.of));
  } else {
    report_.verdicts.push_back(
        {.text = fmt::format("agreement: {:.2f} %, at least {:.0f} % expected",
                             100 * *after.agreement, 100 * kLeastAgreement),
         .is_missed = *after.agreement < kLeastAgreement,
         .hint = hint});
  }
}

Result<int> Optimization::finish() {
  RTAI_TRY_VOID(save_model(model_, flags_->output));
  std::error_code ignored;
  const std::filesystem::path output = flags_->output;
  const auto file = std::filesystem::is_directory(output, ignored) ? output / "model.onnx" : output;
  report_.bytes_after = std::filesystem::file_size(file, ignored);
  RTAI_TRY_VOID(measure_after());
  judge();
  report_.seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - started_).count();
  const Json document = report_.json();
  if (flags_->report) RTAI_TRY_VOID(write_json(document, *flags_->report));
  if (flags_->json) RTAI_TRY_VOID(write_json(document, *flags_->json));
  RTAI_TRY_VOID(
      write_reports(flags_->reports, {.html = [&] { return optimization_html(document); },
                                      .markdown = [&] { return optimization_markdown(document); },
                                      .junit = [&] { return optimization_junit(document); }}));
  report_.written = report_files(*flags_);
  if (!is_stdout(flags_->json)) print(*global_, report_.text());
  const std::vector<std::string> missed = report_.missed();
  if (missed.empty()) return 0;
  for (const std::string& gate : missed)
    log_->warning("gate missed: " + gate);
  return exit_code(ErrorCode::gate);
}

}  // namespace rtai::tools
