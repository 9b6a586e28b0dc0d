#include "libopt/prune/snapshots.h"

#include "runtime/base/parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace rtai::prune {
namespace {

constexpr double kLeastDivergence = 1e-7;  // below it a measurement is rounding
constexpr double kLeastDamage = 1e-9;

Result<Covariance> moments_of(const ir::Graph& dense,
                              const Module& module,
                              std::optional<ir::ValueId> next,
                              Walk& walk,
                              int threads) {
  RTAI_TRY(Moments moments, Moments::make(module.count * module.width, 0, threads));
  for (Index batch = 0; batch < walk.batches(); ++batch) {
    const std::span wanted(&module.units, 1);
    RTAI_TRY(const std::vector<ir::Tensor> values,
             next ? walk.run_towards(dense, batch, wanted, *next) : walk.run(dense, batch, wanted));
    RTAI_TRY_VOID(moments.add(values[0]));
  }
  if (next) walk.step(*next);
  return std::move(moments).finish();
}

/// Levels to measure at: `points` of them spread over all but the last, which does no harm.
std::vector<std::size_t> measured_levels(std::size_t levels, int points) {
  std::set<std::size_t> chosen;
  for (int i = 0; i < points; ++i) {
    const double place = static_cast<double>(levels - 1) * i / points;
    chosen.insert(static_cast<std::size_t>(std::lround(place)));
  }
  chosen.erase(levels - 1);
  return {chosen.begin(), chosen.end()};
}

/// `values` at `places`, straight lines between them, constant outside.
double interpolate(std::span<const std::size_t> places,
                   std::span<const double> values,
                   std::size_t x) {
  if (x <= places.front()) return values.front();
  for (std::size_t i = 1; i < places.size(); ++i) {
    if (x > places[i]) continue;
    const double share =
        static_cast<double>(x - places[i - 1]) / static_cast<double>(places[i] - places[i - 1]);
    return values[i - 1] + share * (values[i] - values[i - 1]);
  }
  return values.back();
}

/// Divergences measured at some levels, as a curve over all of them.
std::vector<double> harm_curve(const RemovalPath& path,
                               std::span<const std::size_t> places,
                               std::vector<double> divergences) {
  // More units never harm: what says so is noise.
  for (std::size_t i = divergences.size() - 1; i-- > 0;)
    divergences[i] = std::max(divergences[i], divergences[i + 1]);
  std::vector<double> ratios;
  for (std::size_t i = 0; i < places.size(); ++i)
    ratios.push_back(std::log(divergences[i]) -
                     std::log(std::max(path.damage[places[i]], kLeastDamage)));
  std::vector<double> harm(path.levels.size(), 0.0);
  for (std::size_t i = 0; i + 1 < harm.size(); ++i)
    harm[i] = std::exp(interpolate(places, ratios, i)) * std::max(path.damage[i], kLeastDamage);
  return harm;
}

/// The harm of a module that was not measured, from the last one of its kind that was: the same
/// ratio to its local error; the local error itself where there is none.
std::vector<double> borrowed_harm(std::span<const Snapshots> snapshots,
                                  std::span<const std::vector<double>> measured,
                                  std::size_t m) {
  std::vector<double> harm = local_harm(snapshots[m]);
  for (std::size_t other = measured.size(); other-- > 0;) {
    if (snapshots[other].module.kind != snapshots[m].module.kind) continue;
    const std::size_t middle = measured[other].size() / 2;
    const double ratio =
        measured[other][middle] / std::max(snapshots[other].path.damage[middle], kLeastDamage);
    for (double& value : harm)
      value *= ratio;
    break;
  }
  return harm;
}

}  // namespace

SurgeryTask Snapshots::task() const {
  return {.weight = &out.weight, .xx = &units.xx, .width = module.width, .ridge = ridge};
}

Result<Layer> Snapshots::layer_at(std::size_t i) const {
  const std::vector<Index> columns = unit_columns(module, path.kept(i));
  Layer layer{.weight = {}, .bias = out.bias};
  RTAI_TRY(layer.weight, weight_on(task(), columns));
  // The bias makes up for the means: of all units before, of the kept ones after.
  const auto add_mean = [&](const ir::Tensor& weight, std::span<const Index> of, double sign) {
    const auto values = weight.data<float>();
    const auto k = static_cast<std::size_t>(weight.dim(1));
    for (std::size_t row = 0; row < layer.bias.size(); ++row) {
      double sum = 0;
      for (std::size_t c = 0; c < k; ++c)
        sum += values[row * k + c] * units.mean_x[static_cast<std::size_t>(of[c])];
      layer.bias[row] += static_cast<float>(sign * sum);
    }
  };
  std::vector<Index> all(static_cast<std::size_t>(out.weight.dim(1)));
  for (std::size_t c = 0; c < all.size(); ++c)
    all[c] = static_cast<Index>(c);
  add_mean(out.weight, all, 1);
  add_mean(layer.weight, columns, -1);
  return layer;
}

Result<std::vector<Snapshots>> take_snapshots(const ir::Graph& dense,
                                              std::span<const Module> modules,
                                              const TokenBatch& texts,
                                              Evaluator& evaluator,
                                              const SnapshotOptions& options,
                                              Log& log) {
  Walk walk(texts, evaluator);
  std::vector<Snapshots> all;
  const auto count = static_cast<double>(modules.size());
  for (std::size_t m = 0; m < modules.size(); ++m) {
    log.progress("statistics", static_cast<double>(m), count);
    const Module& module = modules[m];
    if (m == 0) {
      if (const auto cut = cut_before(dense, module)) RTAI_TRY_VOID(walk.advance(dense, *cut));
    }
    const auto next = cut_before(dense, modules, m + 1);
    RTAI_TRY(Covariance units,
             moments_of(dense, module, next, walk, options.threads).in(module.name()));
    all.push_back({.module = module,
                   .out = layer_of(dense, module.out),
                   .units = std::move(units),
                   .path = {},
                   .ridge = options.ridge,
                   .droppable = can_drop(dense, module)});
  }
  log.progress("statistics", 0, 0);
  RTAI_TRY_VOID(for_each_piece(std::ssize(all), options.threads, [&](Index m) -> Result<void> {
    Snapshots& snapshots = all[static_cast<std::size_t>(m)];
    SurgeryTask task = snapshots.task();
    if (!options.metrics.empty()) task.metric = &options.metrics[static_cast<std::size_t>(m)];
    const bool heads = snapshots.module.kind == ModuleKind::attention;
    task.groups_at_once = heads ? 1 : options.columns_at_once;
    const Index units = snapshots.module.count;
    RTAI_TRY(snapshots.path, removal_path(task, heads ? head_levels(units) : column_levels(units))
                                 .in(snapshots.module.name()));
    return {};
  }));
  for (Snapshots& snapshots : all) {
    if (snapshots.path.ridge > options.ridge) {
      log.warning(fmt::format("{}: singular statistics, solved with a ridge of {}",
                              snapshots.module.name(), snapshots.path.ridge));
    }
    snapshots.ridge = snapshots.path.ridge;
  }
  return all;
}

Result<void> put_snapshot(ir::Graph& graph, const Snapshots& snapshots, std::size_t i) {
  keep_units(graph, snapshots.module, snapshots.path.kept(i));
  return put_weights(graph, snapshots, i);
}

Result<void> put_weights(ir::Graph& graph, const Snapshots& snapshots, std::size_t i) {
  RTAI_TRY(Layer layer, snapshots.layer_at(i));
  if (snapshots.path.levels[i] == 0) layer.weight = layer_of(graph, snapshots.module.out).weight;
  set_layer(graph, snapshots.module.out, layer);
  return {};
}

std::vector<double> local_harm(const Snapshots& snapshots) {
  std::vector<double> harm = snapshots.path.damage;
  if (!snapshots.droppable) harm[0] = std::numeric_limits<double>::infinity();
  return harm;
}

Result<std::vector<std::vector<double>>> measure_harm(const ir::Graph& dense,
                                                      std::span<const Snapshots> snapshots,
                                                      Judge& judge,
                                                      int points,
                                                      const std::function<bool()>& is_late,
                                                      Log& log) {
  std::vector<std::vector<double>> harms;
  for (std::size_t m = 0; m < snapshots.size(); ++m) {
    log.progress("sensitivities", static_cast<double>(m), static_cast<double>(snapshots.size()));
    const Snapshots& of = snapshots[m];
    if (is_late()) {
      harms.push_back(borrowed_harm(snapshots, harms, m));
      continue;
    }
    if (const auto cut = cut_before(dense, of.module)) RTAI_TRY_VOID(judge.advance(dense, *cut));
    const std::vector<std::size_t> places = measured_levels(of.levels(), points);
    std::vector<double> divergences;
    for (const std::size_t level : places) {
      ir::Graph changed = dense;
      RTAI_TRY_VOID(put_snapshot(changed, of, level));
      RTAI_TRY(const double divergence, judge.divergence(changed).in(of.module.name()));
      divergences.push_back(std::max(divergence, kLeastDivergence));
    }
    harms.push_back(places.empty() ? std::vector<double>(of.levels(), 0.0)
                                   : harm_curve(of.path, places, std::move(divergences)));
    if (!of.droppable) harms.back()[0] = std::numeric_limits<double>::infinity();
  }
  log.progress("sensitivities", 0, 0);
  return harms;
}

Result<std::vector<double>> measure_layer_harm(const ir::Graph& dense,
                                               std::span<const Snapshots> snapshots,
                                               Judge& judge,
                                               Log& log) {
  const auto layers = static_cast<std::size_t>(snapshots.back().module.layer) + 1;
  std::vector<double> harms;
  for (std::size_t layer = 0; layer < layers; ++layer) {
    log.progress("sensitivities", static_cast<double>(layer), static_cast<double>(layers));
    ir::Graph changed = dense;
    bool is_first = true;
    bool is_droppable = true;
    for (const Snapshots& of : snapshots) {
      if (static_cast<std::size_t>(of.module.layer) != layer) continue;
      if (const auto cut = is_first ? cut_before(dense, of.module) : std::nullopt)
        RTAI_TRY_VOID(judge.advance(dense, *cut));
      is_first = false;
      is_droppable = is_droppable && of.droppable;
      RTAI_TRY_VOID(put_snapshot(changed, of, 0));
    }
    RTAI_TRY(const double divergence, judge.divergence(changed));
    harms.push_back(is_droppable ? divergence : std::numeric_limits<double>::infinity());
  }
  log.progress("sensitivities", 0, 0);
  return harms;
}

}  // namespace rtai::prune
