#include "libopt/prune/cost.h"

#include "libopt/ir/extract.h"
#include "libopt/prune/obs.h"

#include <algorithm>
#include <map>
#include <numeric>

namespace rtai::prune {
namespace {

/// Layers that are measured: more than one, so that what lies between layers counts; few, so that
/// measuring is quick.
constexpr Index kMeasuredLayers = 3;

/// Graphs that take turns: bounds the memory of their engines.
constexpr std::size_t kTakingTurns = 16;

/// Levels that are measured of so many that they would not all take turns: none, the first, and
/// then in steps of at least this share of all units. Between them costs are nearly straight.
constexpr double kLeastStep = 0.1;

std::vector<Index> first_units(Index count) {
  std::vector<Index> units(static_cast<std::size_t>(count));
  std::iota(units.begin(), units.end(), Index{0});
  return units;
}

std::vector<Index> levels_to_measure(std::vector<Index> levels) {
  if (levels.size() < kTakingTurns) return levels;
  const auto step = static_cast<Index>(kLeastStep * static_cast<double>(levels.back()));
  std::vector<Index> few = {levels[0], levels[1]};
  for (const Index level : levels)
    if (level >= few.back() + step && level + step <= levels.back()) few.push_back(level);
  few.push_back(levels.back());
  return few;
}

/// Modules that have the same curve.
struct Shape {
  ModuleKind kind;
  Index width;            // columns of a unit
  Index hidden;           // columns of the residual
  bool few_rows = false;  // in the last layer, of which only a row for each sequence is read
  friend auto operator<=>(const Shape&, const Shape&) = default;
};

/// The least rising curve through noisy points: neighbours that fall are replaced by their mean
/// (pool adjacent violators).
std::vector<double> rising(std::span<const double> values) {
  struct Pool {
    double sum;
    std::size_t count;
    double mean() const { return sum / static_cast<double>(count); }
  };
  std::vector<Pool> pools;
  for (const double value : values) {
    pools.push_back({value, 1});
    while (pools.size() > 1 && pools[pools.size() - 2].mean() > pools.back().mean()) {
      pools[pools.size() - 2].sum += pools.back().sum;
      pools[pools.size() - 2].count += pools.back().count;
      pools.pop_back();
    }
  }
  std::vector<double> smooth;
  for (const Pool& pool : pools)
    smooth.insert(smooth.end(), pool.count, pool.mean());
  return smooth;
}

/// Layers that are measured together: their modules, where they begin and where they end.
struct Stack {
  std::span<const Module> modules;
  std::vector<ir::ValueId> begin;  // one value, or nothing: the inputs of the model
  std::vector<ir::ValueId> end;
};

/// Measures stacks of some of the model's layers as shares of the whole model's time.
class Stopwatch {
 public:
  Stopwatch(const ir::Graph& graph, std::span<const Module> modules, Evaluator& evaluator, Log& log)
      : graph_(graph), modules_(modules), evaluator_(evaluator), log_(log) {}

  Shape shape_of(const Module& module) const {
    const bool is_last = module.layer == modules_.back().layer;
    return {module.kind, module.width, (*graph_.type(module.sum).dims)[1].size,
            is_last && !graph_.nodes_of(ir::Op::first_token).empty()};
  }

  /// The curve of all modules that look like `module`, as shares.
  Result<CostCurve> curve(const Module& module) {
    const Shape shape = shape_of(module);
    stack_ = stack_with(shape);
    Index most = 0;
    for (const Module& other : modules_)
      if (shape_of(other) == shape) most = std::max(most, other.count);
    CostCurve curve{
        .units = levels_to_measure(module.kind == ModuleKind::attention ? head_levels(most)
                                                                        : column_levels(most)),
        .cost = {}};
    RTAI_TRY(std::vector<double> times, stack_times(shape, curve.units));
    // Without the last attention the layer before is the last one, and few of its rows are read,
    // too: that belongs to no number of heads, and would make costs not add up.
    if (shape.few_rows && module.kind == ModuleKind::attention && times.size() > 2)
      times[0] = std::max(times[0], 2 * times[1] - times[2]);
    const std::vector<double> smooth = rising(times);
    const auto alike = std::ranges::count_if(stack_.modules,
                                             [&](const Module& m) { return shape_of(m) == shape; });
    for (const double time : smooth)
      curve.cost.push_back((time - smooth[0]) / static_cast<double>(alike));
    return curve;
  }

  /// Of the whole model: the middle one of what was measured beside the stacks.
  Milliseconds whole() {
    std::ranges::sort(whole_);
    return whole_[whole_.size() / 2];
  }

 private:
  /// The first layers that have a module of the shape; of the last layer's shapes, the last ones.
  Stack stack_with(const Shape& shape) const {
    const auto layer_is_at_least = [](Index layer) {
      return [layer](const Module& m) { return m.layer >= layer; };
    };
    const auto first_alike =
        std::ranges::find_if(modules_, [&](const Module& m) { return shape_of(m) == shape; });
    const Index end_layer = std::max(kMeasuredLayers, first_alike->layer + 1);
    const auto begin =
        shape.few_rows
            ? std::ranges::find_if(modules_,
                                   layer_is_at_least(modules_.back().layer + 1 - kMeasuredLayers))
            : modules_.begin();
    const auto end = std::ranges::find_if(modules_, layer_is_at_least(end_layer));
    Stack stack{.modules = {begin, end}, .begin = {}, .end = {}};
    if (const auto cut = cut_before(graph_, *begin)) stack.begin = {*cut};
    if (end != modules_.end()) {
      if (const auto cut = cut_before(graph_, *end)) stack.end = {*cut};
    }
    if (stack.end.empty()) stack.end.assign(graph_.outputs().begin(), graph_.outputs().end());
    return stack;
  }

  /// The stack with at most `units` units in each module of one shape.
  ir::Graph stack(const Shape& shape, Index units) const {
    Kept kept;
    for (const Module& module : stack_.modules) {
      const bool limited = shape_of(module) == shape;
      kept.push_back(first_units(limited ? std::min(units, module.count) : module.count));
    }
    ir::Graph stack = graph_;
    stack.set_outputs(stack_.end);
    stack = narrowed(stack, stack_.modules, kept);
    return ir::extract(stack, stack_.begin, stack.outputs());
  }

  Result<std::vector<double>> stack_times(const Shape& shape, std::span<const Index> levels) {
    std::vector<double> times;
    for (std::size_t begin = 0; begin < levels.size(); begin += kTakingTurns) {
      log_.progress("latency table", static_cast<double>(begin),
                    static_cast<double>(levels.size()));
      const auto group = levels.subspan(begin, std::min(kTakingTurns, levels.size() - begin));
      std::vector<ir::Graph> graphs = {graph_};
      for (const Index units : group)
        graphs.push_back(stack(shape, units));
      RTAI_TRY(const std::vector<RunTimes> measured, evaluator_.deployed_latencies(graphs));
      const double reference = std::max(measured[0].comparable.count(), 1e-6);
      for (std::size_t i = 1; i < measured.size(); ++i)
        times.push_back(measured[i].comparable.count() / reference);
      whole_.push_back(measured[0].median);
    }
    log_.progress("latency table", 0, 0);
    return times;
  }

  const ir::Graph& graph_;
  std::span<const Module> modules_;
  Evaluator& evaluator_;
  Log& log_;
  Stack stack_;
  std::vector<Milliseconds> whole_;  // by group that was measured
};

CostCurve straight(Index units, double cost_of_one) {
  return {.units = {0, units}, .cost = {0, cost_of_one * static_cast<double>(units)}};
}

}  // namespace

double CostCurve::at(Index count) const {
  const auto above = std::ranges::lower_bound(units, count);
  if (above == units.end()) return cost.back();
  const auto i = static_cast<std::size_t>(above - units.begin());
  if (*above == count || i == 0) return cost[i];
  const double share =
      static_cast<double>(count - units[i - 1]) / static_cast<double>(units[i] - units[i - 1]);
  return cost[i - 1] + share * (cost[i] - cost[i - 1]);
}

double CostModel::of(std::span<const Module> dense, const Kept& kept) const {
  double sum = rest;
  for (std::size_t m = 0; m < dense.size(); ++m)
    sum += modules[m].at(std::ssize(kept[m]));
  return sum;
}

double CostModel::dense(std::span<const Module> all) const {
  double sum = rest;
  for (std::size_t m = 0; m < all.size(); ++m)
    sum += modules[m].at(all[m].count);
  return sum;
}

CostModel count_flops(const ir::Graph& graph, std::span<const Module> modules, Index seq) {
  CostModel model;
  for (const Module& module : modules) {
    const Index in = layer_of(graph, module.in).weight.dim(1);
    const Index out = layer_of(graph, module.out).weight.dim(0);
    const bool heads = module.kind == ModuleKind::attention;
    const Index columns_read = (heads ? 3 : 1) * in + out + (heads ? 2 * seq : 0);
    model.modules.push_back(
        straight(module.count, static_cast<double>(module.width * columns_read)));
  }
  return model;
}

CostModel count_parameters(const ir::Graph& graph, std::span<const Module> modules) {
  CostModel model;
  for (const Module& module : modules) {
    const Index in = layer_of(graph, module.in).weight.dim(1);
    const Index out = layer_of(graph, module.out).weight.dim(0);
    const Index projections = module.kind == ModuleKind::attention ? 3 : 1;
    const Index of_column = projections * (in + 1) + out;
    model.modules.push_back(straight(module.count, static_cast<double>(module.width * of_column)));
  }
  model.rest = static_cast<double>(ir::footprint(graph).parameters) - model.dense(modules);
  return model;
}

CostModel count_units(std::span<const Module> modules) {
  CostModel model;
  for (const Module& module : modules)
    model.modules.push_back(straight(module.count, 1));
  return model;
}

Result<CostModel> measure_times(const ir::Graph& graph,
                                std::span<const Module> modules,
                                Evaluator& evaluator,
                                Log& log) {
  Stopwatch stopwatch(graph, modules, evaluator, log);
  std::map<Shape, CostCurve> curves;
  CostModel model;
  for (const Module& module : modules) {
    const Shape shape = stopwatch.shape_of(module);
    if (!curves.contains(shape)) {
      RTAI_TRY(curves[shape], stopwatch.curve(module));
    }
    model.modules.push_back(curves.at(shape));
  }
  const double whole_ms = stopwatch.whole().count();
  model.rest = whole_ms * std::max(0.0, 1 - model.dense(modules));
  for (CostCurve& curve : model.modules) {
    for (double& cost : curve.cost)
      cost *= whole_ms;
  }
  return model;
}

ir::Graph narrowed(const ir::Graph& graph, std::span<const Module> modules, const Kept& kept) {
  ir::Graph narrow = graph;
  for (std::size_t m = 0; m < modules.size(); ++m) {
    if (std::ssize(kept[m]) < modules[m].count) keep_units(narrow, modules[m], kept[m]);
  }
  drop_empty_modules(narrow, modules, kept);
  return narrow;
}

void drop_empty_modules(ir::Graph& graph, std::span<const Module> modules, const Kept& kept) {
  for (std::size_t m = modules.size(); m-- > 0;) {
    if (kept[m].empty() && can_drop(graph, modules[m])) drop_module(graph, modules[m]);
  }
}

}  // namespace rtai::prune
