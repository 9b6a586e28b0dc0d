// From what was asked for to the units that stay: budgets, and how methods spend them.
#pragma once

#include "libopt/pass/options.h"
#include "libopt/prune/cost.h"
#include "libopt/prune/snapshots.h"

#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace rtai::prune {

/// What the pruned model must reach; pruning passes derive their options from it.
struct Target {
  /// The largest ratio that can be asked for.
  static constexpr double kMaxRatio = 1000;

  double speedup = 0;
  double latency_ms = 0;
  double flops = 0;
  double parameters = 0;
  double keep_heads = 1;
  double keep_ffn = 1;
  int seq = 64;

  static constexpr auto fields() {
    return std::tuple{
        option("speedup", &Target::speedup, Range{0, kMaxRatio},
               "times faster than the dense model, measured as it will be deployed"),
        option("latency-ms", &Target::latency_ms, Range{0, 1e9},
               "milliseconds for one run, measured as it will be deployed"),
        option("flops", &Target::flops, Range{0, kMaxRatio},
               "times fewer multiply-adds in the encoder's modules"),
        option("parameters", &Target::parameters, Range{0, 1e15},
               "parameters that the whole model may have"),
        option("keep-heads", &Target::keep_heads, Range{0, 1}, "share of all heads to keep"),
        option("keep-ffn", &Target::keep_ffn, Range{0, 1}, "share of all FFN columns to keep"),
        option("seq", &Target::seq, Range{1, 1 << 20}, "tokens of a sequence, for flops")};
  }

  bool is_time() const { return speedup > 0 || latency_ms > 0; }
  /// Errors: invalid_input unless exactly one of speedup, latency-ms, flops, parameters or keep
  /// fractions is asked for.
  Result<void> check() const;
};

/// How a pruning method spends a budget.
class Method {
 public:
  virtual ~Method() = default;

  /// The units to keep of each module in `which` so that their costs (`curves`, one for each in
  /// `which`) sum to at most `budget`; nothing if that cannot be.
  virtual std::optional<Kept> within(std::span<const std::size_t> which,
                                     std::span<const CostCurve> curves,
                                     double budget) const = 0;
  /// What it keeps when nothing is cheap enough.
  virtual Kept least(std::span<const std::size_t> which) const = 0;
  /// The module's part in the harm that keeping this many of its units is expected to do; 0 where
  /// the method does not know.
  virtual double harm(std::size_t /*module*/, Index /*kept*/) const { return 0; }
};

/// Levels of least total harm, by dynamic programming.
class LevelMethod final : public Method {
 public:
  /// `harms`: by module and level. `snapshots` must outlive the method.
  LevelMethod(std::span<const Snapshots> snapshots, std::vector<std::vector<double>> harms)
      : snapshots_(snapshots), harms_(std::move(harms)) {}

  std::optional<Kept> within(std::span<const std::size_t> which,
                             std::span<const CostCurve> curves,
                             double budget) const override;
  Kept least(std::span<const std::size_t> which) const override;
  double harm(std::size_t module, Index kept) const override;

 private:
  std::span<const Snapshots> snapshots_;
  std::vector<std::vector<double>> harms_;
};

/// Whole layers of least total harm: each keeps everything or loses all of its modules.
class LayerMethod final : public Method {
 public:
  /// `harms`: of losing each layer. `snapshots` must outlive the method.
  LayerMethod(std::span<const Snapshots> snapshots, std::vector<double> harms)
      : snapshots_(snapshots), harms_(std::move(harms)) {}

  std::optional<Kept> within(std::span<const std::size_t> which,
                             std::span<const CostCurve> curves,
                             double budget) const override;
  Kept least(std::span<const std::size_t> which) const override;
  double harm(std::size_t module, Index kept) const override;

 private:
  Kept without(std::span<const std::size_t> which, const std::vector<bool>& gone) const;

  std::span<const Snapshots> snapshots_;
  std::vector<double> harms_;
};

/// Units of the highest scores, as many as fit.
class ScoreMethod final : public Method {
 public:
  /// `scores`: by module and unit, to be compared over all modules.
  explicit ScoreMethod(std::vector<std::vector<double>> scores) : scores_(std::move(scores)) {}

  std::optional<Kept> within(std::span<const std::size_t> which,
                             std::span<const CostCurve> curves,
                             double budget) const override;
  Kept least(std::span<const std::size_t> which) const override;

 private:
  std::vector<std::vector<double>> scores_;
};

/// What was decided, and what it costs: milliseconds for time targets, multiply-adds per token for
/// flops, parameters, or units.
struct Plan {
  Kept kept;
  CostModel costs;
  double dense_cost = 0;
  double predicted_cost = 0;
  std::optional<double> measured_cost = {};  // time targets: of the candidate, measured as a whole
  bool met = false;
};

/// Spends the budget that `target` leaves. For time targets candidates are measured as a whole, and
/// the budget is corrected until the target is met and little is left of it, or until `is_late`
/// says that the best so far must do.
///
/// Errors: as Evaluator::deployed_latencies; invalid_input for a time target without evaluator.
Result<Plan> make_plan(
    const Target& target,
    const ir::Graph& dense,
    std::span<const Module> modules,
    const Method& method,
    Evaluator* evaluator,
    Log& log,
    const std::function<bool()>& is_late = [] { return false; });

}  // namespace rtai::prune
