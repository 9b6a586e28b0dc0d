// What prune, quantize and optimize have in common: load, measure, change, measure again, write,
// judge.
#pragma once

#include "tools/cli.h"
#include "tools/engine_evaluator.h"
#include "tools/model.h"
#include "tools/report/files.h"
#include "tools/report/optimization.h"
#include "tools/text_data.h"
#include "tools/workload.h"

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace rtai::tools {

struct OptimizationFlags {
  std::string model;
  std::string output;
  std::optional<std::string> calibration;
  int calibration_texts = 512;
  std::optional<std::string> evaluation;
  std::optional<double> max_drop;  // points
  std::optional<double> time_budget_s;
  std::optional<std::string> report;
  std::optional<std::string> json;
  ReportFlags reports;
  bool dry_run = false;
  WorkloadFlags workload;

  void add_to(CLI::App& command);
  void add_time_budget_to(CLI::App& command);
};

/// How the weights of an int8 model are kept in its file.
struct WeightFlags {
  std::string weights = "int8";
  Index group = 64;

  void add_to(CLI::App& command);
  /// As options of quantize-int8, with a comma before each.
  std::string pass_options() const;
  void add_to(Json& request) const;
};

/// How static scales are chosen.
struct CalibrationFlags {
  std::string method = "mse";
  std::optional<double> percentile;

  void add_to(CLI::App& command);
  /// Errors: invalid_input where a flag would do nothing.
  Result<void> check(const std::string& mode) const;
  /// As options of quantize-int8, with a comma before each.
  std::string pass_options() const;
  void add_to(Json& request) const;
};

/// What another pipeline would have made of the same model.
struct Trial {
  std::string pipeline;
  ir::Graph graph;
  std::vector<PassRecord> records;
  std::optional<Quality> quality;
};

/// One optimization from start to verdict. The output is written before any gate is judged: the
/// best that was found is never lost.
class Optimization {
 public:
  /// Checks the flags, loads the model and the texts, measures quality and latency before.
  /// Latencies are those of the model as it will be deployed.
  static Result<Optimization> start(std::string command,
                                    const OptimizationFlags& flags,
                                    const GlobalFlags& global,
                                    Log& log,
                                    Deployment deployment = Deployment::as_it_is);

  /// Runs passes on the model.
  Result<void> run(const std::string& pipeline);

  /// The same for a change of more than the graph, recorded as a pass of this name.
  Result<void> change(const std::string& name,
                      const std::function<Result<PassReport>(Model&)>& work);

  /// How far the outputs are from those of the model as it came, on the calibration texts with
  /// words swapped: texts that no pass has seen.
  Result<double> divergence_of(const ir::Graph& graph);

  /// Runs passes on the model as it came, and judges the result; the model stays.
  Result<Trial> try_instead(const std::string& pipeline);

  /// Takes what was tried for the model as it came.
  void adopt(Trial trial);

  /// True once --time-budget is over.
  bool is_late() const { return time_.is_spent(); }

  /// True if nearly every answer is that of the model as it came, as the default gate asks.
  Result<bool> agrees() const;

  /// Back to the model as it came.
  void start_over();

  /// With --dry-run: prints what would be done, and that is all. `steps` are the command's own.
  int print_plan(const std::vector<std::string>& steps) const;

  /// Writes the output, measures again, writes the report, prints it; 0 or the code of a missed
  /// gate.
  Result<int> finish();

  /// Judges a goal of the command's own, if it has one, once everything is measured.
  using Gate = std::function<std::optional<Verdict>(const OptimizationReport& report)>;
  void set_gate(Gate gate) { gate_ = std::move(gate); }

  const Model& model() const { return model_; }
  OptimizationReport& report() { return report_; }
  const TokenBatch& calibration() const { return calibration_; }
  const Workload& workload() const { return workload_; }
  EngineEvaluator& evaluator() { return evaluator_; }
  Log& log() { return *log_; }
  std::uint64_t seed() const { return global_->seed; }

 private:
  Optimization(const OptimizationFlags& flags,
               const GlobalFlags& global,
               Model model,
               Workload workload,
               Log& log,
               Deployment deployment);
  Result<std::vector<PassRecord>> run_on(ir::Graph& graph, const std::string& pipeline);
  /// Puts a pipeline that was run on the model into its history and the report.
  void record(const std::string& pipeline, std::vector<PassRecord> records);
  /// Of the model as it is, against how it came; nothing where its answers cannot be compared.
  Result<std::optional<Quality>> measure_quality() const;
  Result<void> measure_before();
  Result<void> measure_after();
  void judge();

  const OptimizationFlags* flags_;
  const GlobalFlags* global_;
  Log* log_;
  Model model_;
  ir::Graph graph_before_;
  std::map<std::string, std::string> metadata_before_;
  Workload workload_;
  EngineEvaluator evaluator_;
  TokenBatch calibration_;
  std::vector<Sample> samples_;  // that quality is measured on
  std::vector<Answer> answers_before_;
  std::vector<PassRecord> records_;
  OptimizationReport report_;
  Gate gate_;
  std::chrono::steady_clock::time_point started_;
  TimeBudget time_;
};

}  // namespace rtai::tools
