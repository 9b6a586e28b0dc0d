#include "libopt/prune/plan.h"

#include "libopt/prune/choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace rtai::prune {
namespace {

/// Measured candidates until the target is met closely enough.
constexpr int kMostCandidates = 6;
/// How much faster than asked for a candidate must be: the next measurement will not say the same.
constexpr double kMargin = 0.015;
/// A candidate this much faster than asked for has given away quality.
constexpr double kSlack = 0.02;
/// Share of the goal by which the budget shrinks after a miss, beside what the miss itself was.
constexpr double kReserve = 0.005;
/// Share of the goal that the table may be wrong by: beyond it other work may have disturbed the
/// candidate, and following it would prune for nothing.
constexpr double kMostUntold = 0.15;
/// It is believed all the same where the next candidate says so within this share of the goal.
constexpr double kAgreement = 0.05;
/// Measurements of a candidate, each with engines of its own, whose mean counts: where an engine
/// happens to lie in memory alone is worth a percent.
constexpr int kMeasurements = 2;

std::vector<std::size_t> all_of(std::span<const Module> modules) {
  std::vector<std::size_t> which(modules.size());
  std::iota(which.begin(), which.end(), std::size_t{0});
  return which;
}

std::vector<std::size_t> of_kind(std::span<const Module> modules, ModuleKind kind) {
  std::vector<std::size_t> which;
  for (std::size_t m = 0; m < modules.size(); ++m)
    if (modules[m].kind == kind) which.push_back(m);
  return which;
}

/// One kind of module with a share of its units.
void keep_share(std::span<const Module> modules,
                const Method& method,
                ModuleKind kind,
                double share,
                Plan& plan) {
  const std::vector<std::size_t> which = of_kind(modules, kind);
  std::vector<CostCurve> curves;
  double all = 0;
  for (const std::size_t m : which) {
    curves.push_back(plan.costs.modules[m]);
    all += static_cast<double>(modules[m].count);
  }
  auto kept = method.within(which, curves, std::round(share * all));
  plan.met = plan.met && kept.has_value();
  if (!kept) kept = method.least(which);
  for (std::size_t i = 0; i < which.size(); ++i)
    plan.kept[which[i]] = (*kept)[i];
}

/// Looks for the largest budget whose candidate meets a time target when it is measured.
class TimeSearch {
 public:
  TimeSearch(const Target& target,
             const ir::Graph& dense,
             std::span<const Module> modules,
             const Method& method,
             Evaluator& evaluator,
             Log& log)
      : target_(target),
        dense_(dense),
        modules_(modules),
        method_(method),
        evaluator_(evaluator),
        log_(log) {}

  Result<Plan> run(const std::function<bool()>& is_late) {
    RTAI_TRY(const CostModel costs, measure_times(dense_, modules_, evaluator_, log_));
    const double dense_ms = costs.dense(modules_);
    const double goal_ms = goal(dense_ms);
    std::optional<Plan> best;
    double untold = 0;  // ms that the table does not tell of, learnt from the last candidate
    std::optional<double> seen;  // what that was, believed or not
    double reserve = 0;          // ms kept back, more after every miss
    for (int i = 0; i < kMostCandidates; ++i) {
      const double budget = goal_ms - reserve - untold;
      RTAI_TRY(Plan plan, candidate(costs, budget, untold));
      log_.info(
          fmt::format("candidate {}: {:.3f} ms predicted, {:.3f} ms measured, {:.3f} ms asked", i,
                      plan.predicted_cost, *plan.measured_cost, goal_ms));
      untold += *plan.measured_cost - plan.predicted_cost;
      const bool is_confirmed = seen && std::abs(untold - *seen) <= kAgreement * goal_ms;
      seen = untold;
      if (std::abs(untold) > kMostUntold * goal_ms && !is_confirmed) {
        log_.warning("a candidate does not fit the latency table; is the machine busy?");
        untold = std::copysign(kMostUntold * goal_ms, untold);
      }
      if (!plan.met) reserve += kReserve * goal_ms;
      const bool is_close = *plan.measured_cost >= (1 - kSlack) * goal_ms || budget >= dense_ms;
      const bool is_last = plan.met ? is_close : plan.kept == method_.least(all_of(modules_));
      if (!best || is_better(plan, *best)) best = std::move(plan);
      if (is_last || is_late()) break;
    }
    return *std::move(best);
  }

 private:
  /// The best within a budget of the table's milliseconds.
  Result<Plan> candidate(const CostModel& costs, double budget, double untold) {
    Plan plan{.kept = {}, .costs = costs};
    const std::vector<std::size_t> which = all_of(modules_);
    const auto kept = method_.within(which, costs.modules, budget - costs.rest);
    plan.kept = kept ? *kept : method_.least(which);
    plan.predicted_cost = costs.of(modules_, plan.kept) + untold;
    plan.dense_cost = costs.dense(modules_);
    RTAI_TRY(plan.measured_cost, measured_time(plan));
    plan.met = *plan.measured_cost <= goal(plan.dense_cost);
    return plan;
  }

  /// A candidate that misses the goal by much is not measured again.
  Result<double> measured_time(const Plan& plan) {
    const ir::Graph graphs[] = {dense_, narrowed(dense_, modules_, plan.kept)};
    double mean = 0;
    for (int i = 0; i < kMeasurements && mean <= (1 + kMargin) * goal(plan.dense_cost); ++i) {
      RTAI_TRY(const std::vector<RunTimes> times, evaluator_.deployed_latencies(graphs));
      // A speed-up holds in the speed of the machine as it was when the table was measured; a
      // latency is what users will wait.
      const double ms = target_.speedup > 0
                            ? plan.dense_cost * (times[1].comparable / times[0].comparable)
                            : times[1].median.count();
      mean += (ms - mean) / (i + 1);
    }
    return mean;
  }

  double goal(double dense_ms) const {
    return (1 - kMargin) * (target_.speedup > 0 ? dense_ms / target_.speedup : target_.latency_ms);
  }

  /// Met beats missed; of two that met the slower one keeps more, of two that missed the faster
  /// one is closer.
  static bool is_better(const Plan& a, const Plan& b) {
    if (a.met != b.met) return a.met;
    return a.met ? *a.measured_cost > *b.measured_cost : *a.measured_cost < *b.measured_cost;
  }

  const Target& target_;
  const ir::Graph& dense_;
  std::span<const Module> modules_;
  const Method& method_;
  Evaluator& evaluator_;
  Log& log_;
};

}  // namespace

Result<void> Target::check() const {
  const int asked = (speedup > 0 ? 1 : 0) + (latency_ms > 0 ? 1 : 0) + (flops > 0 ? 1 : 0) +
                    (parameters > 0 ? 1 : 0) + (keep_heads < 1 || keep_ffn < 1 ? 1 : 0);
  if (asked == 1) return {};
  return Error{
      ErrorCode::invalid_input,
      fmt::format(
          "expected one target of speedup, latency-ms, flops, parameters, or keep-heads with "
          "keep-ffn; found {}",
          asked)};
}

std::optional<Kept> LevelMethod::within(std::span<const std::size_t> which,
                                        std::span<const CostCurve> curves,
                                        double budget) const {
  std::vector<Alternatives> alternatives;
  for (std::size_t i = 0; i < which.size(); ++i) {
    Alternatives module{.cost = {}, .harm = harms_[which[i]]};
    for (const Index level : snapshots_[which[i]].path.levels)
      module.cost.push_back(curves[i].at(level));
    alternatives.push_back(std::move(module));
  }
  const std::optional<Choice> choice = choose(alternatives, budget);
  if (!choice) return std::nullopt;
  Kept kept;
  for (std::size_t i = 0; i < which.size(); ++i)
    kept.push_back(snapshots_[which[i]].path.kept((*choice)[i]));
  return kept;
}

Kept LevelMethod::least(std::span<const std::size_t> which) const {
  Kept kept;
  for (const std::size_t m : which)
    kept.push_back(snapshots_[m].path.kept(snapshots_[m].droppable ? 0 : 1));
  return kept;
}

double LevelMethod::harm(std::size_t module, Index kept) const {
  return harms_[module][snapshots_[module].path.level_of(kept)];
}

std::optional<Kept> LayerMethod::within(std::span<const std::size_t> which,
                                        std::span<const CostCurve> curves,
                                        double budget) const {
  // Two levels for each layer: without it, and whole.
  std::vector<Alternatives> layers(harms_.size());
  for (std::size_t layer = 0; layer < layers.size(); ++layer)
    layers[layer] = {.cost = {0, 0}, .harm = {harms_[layer], 0}};
  for (std::size_t i = 0; i < which.size(); ++i) {
    const Module& module = snapshots_[which[i]].module;
    std::vector<double>& cost = layers[static_cast<std::size_t>(module.layer)].cost;
    cost[0] += curves[i].at(0);
    cost[1] += curves[i].at(module.count);
  }
  const std::optional<Choice> choice = choose(layers, budget);
  if (!choice) return std::nullopt;
  std::vector<bool> gone;
  for (const std::size_t level : *choice)
    gone.push_back(level == 0);
  return without(which, gone);
}

Kept LayerMethod::least(std::span<const std::size_t> which) const {
  std::vector<bool> gone;
  for (const double harm : harms_)
    gone.push_back(std::isfinite(harm));
  return without(which, gone);
}

double LayerMethod::harm(std::size_t module, Index kept) const {
  // Half of it in each row of a report that lists the two modules of a layer.
  return kept > 0 ? 0 : harms_[static_cast<std::size_t>(snapshots_[module].module.layer)] / 2;
}

Kept LayerMethod::without(std::span<const std::size_t> which, const std::vector<bool>& gone) const {
  Kept kept;
  for (const std::size_t m : which) {
    const Snapshots& of = snapshots_[m];
    const bool all = !gone[static_cast<std::size_t>(of.module.layer)];
    kept.push_back(of.path.kept(all ? of.levels() - 1 : 0));
  }
  return kept;
}

std::optional<Kept> ScoreMethod::within(std::span<const std::size_t> which,
                                        std::span<const CostCurve> curves,
                                        double budget) const {
  struct Unit {
    double score;
    std::size_t place;  // in `which`
    Index index;
  };
  std::vector<Unit> units;
  for (std::size_t i = 0; i < which.size(); ++i) {
    const std::vector<double>& scores = scores_[which[i]];
    for (std::size_t u = 0; u < scores.size(); ++u)
      units.push_back({scores[u], i, static_cast<Index>(u)});
  }
  std::ranges::stable_sort(units, std::greater<>(), &Unit::score);
  Kept kept(which.size());
  double spent = 0;
  for (const CostCurve& curve : curves)
    spent += curve.at(0);
  if (spent > budget) return std::nullopt;
  for (const Unit& unit : units) {
    const Index now = std::ssize(kept[unit.place]);
    const CostCurve& curve = curves[unit.place];
    const double more = curve.at(now + 1) - curve.at(now);
    // The tolerance keeps a budget of everything from losing a unit to rounding.
    if (spent + more > budget * (1 + 1e-9)) continue;
    spent += more;
    kept[unit.place].push_back(unit.index);
  }
  for (std::vector<Index>& module : kept)
    std::ranges::sort(module);
  return kept;
}

Kept ScoreMethod::least(std::span<const std::size_t> which) const {
  return Kept(which.size());
}

Result<Plan> make_plan(const Target& target,
                       const ir::Graph& dense,
                       std::span<const Module> modules,
                       const Method& method,
                       Evaluator* evaluator,
                       Log& log,
                       const std::function<bool()>& is_late) {
  RTAI_TRY_VOID(target.check());
  if (target.is_time()) {
    if (evaluator == nullptr) {
      return Error{ErrorCode::invalid_input, "a time target needs something that measures time"};
    }
    return TimeSearch(target, dense, modules, method, *evaluator, log).run(is_late);
  }
  Plan plan{.kept = Kept(modules.size()), .costs = {}, .met = true};
  if (target.flops > 0 || target.parameters > 0) {
    plan.costs = target.flops > 0 ? count_flops(dense, modules, target.seq)
                                  : count_parameters(dense, modules);
    const std::vector<std::size_t> which = all_of(modules);
    const double budget =
        target.flops > 0 ? plan.costs.dense(modules) / target.flops : target.parameters;
    const auto kept = method.within(which, plan.costs.modules, budget - plan.costs.rest);
    plan.met = kept.has_value();
    plan.kept = kept ? *kept : method.least(which);
  } else {
    plan.costs = count_units(modules);
    keep_share(modules, method, ModuleKind::attention, target.keep_heads, plan);
    keep_share(modules, method, ModuleKind::ffn, target.keep_ffn, plan);
  }
  plan.dense_cost = plan.costs.dense(modules);
  plan.predicted_cost = plan.costs.of(modules, plan.kept);
  return plan;
}

}  // namespace rtai::prune
