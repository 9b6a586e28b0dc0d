#include "runtime/exec/tile_tuner.h"

#include <algorithm>

namespace rtai::exec {
namespace {

struct Timed {
  cuda::LinearTile tile;
  double ms;
};

/// The layer with every tile that it can have, several times in a row; the fastest first.
Result<std::vector<Timed>> time_alone(cuda::Backend& backend, const TileTuner::Layer& layer) {
  constexpr int kInARow = 6;
  std::vector<Timed> timed;
  for (const cuda::LinearTile tile :
       usable_tiles(layer.args.rows.most, layer.needs, backend.info())) {
    cuda::LinearArgs args = layer.args;
    args.tile = tile;
    RTAI_TRY(const std::unique_ptr<cuda::Graph> graph,
             backend.record([&](cuda::Recorder& recorder) {
               recorder.begin_timing();
               for (int i = 0; i < kInARow; ++i)
                 recorder.run(cuda::LinearI8{}, args);
               recorder.end_timing();
             }));
    RTAI_TRY(const double ms, time_graph(backend, *graph));
    timed.push_back({tile, ms});
  }
  std::sort(timed.begin(), timed.end(), [](const Timed& a, const Timed& b) { return a.ms < b.ms; });
  return timed;
}

/// Whether a tile that somebody wrote down is one that would be launched without that.
bool can_have(const TileTuner::Layer& layer,
              cuda::LinearTile tile,
              const cuda::DeviceInfo& device) {
  const auto usable = usable_tiles(layer.args.rows.most, layer.needs, device);
  return tile == layer.args.tile || std::ranges::find(usable, tile) != usable.end();
}

}  // namespace

LayerShape shape_of(const cuda::LinearArgs& args) {
  return {.function = args.function,
          .adds = args.residual.exist(),
          .quantizes = args.dst.i8 != nullptr,
          .head_dim = args.heads.data == nullptr ? 0 : args.heads.head_dim,
          .rows = args.rows.most,
          .columns = args.columns,
          .k = args.k};
}

Result<double> time_graph(cuda::Backend& backend, cuda::Graph& graph) {
  constexpr int kRuns = 4;
  double least = 0;
  for (int i = 0; i < kRuns; ++i) {
    RTAI_TRY(const double ms, backend.run(graph));
    least = i == 0 ? ms : std::min(least, ms);
  }
  return least;
}

cuda::LinearTile TileTuner::tile(const LayerShape& shape, cuda::LinearTile expected) const {
  const auto found = found_.find(shape);
  return found == found_.end() ? expected : found->second;
}

Result<void> TileTuner::tune(cuda::Backend& backend,
                             std::span<const Layer> layers,
                             const std::function<Result<double>()>& time_run) {
  constexpr double kNear = 1.25;     // to the fastest alone
  constexpr double kWorthIt = 0.99;  // of the run's time: less is noise
  std::map<LayerShape, const Layer*> unknown;
  for (const Layer& layer : layers) {
    if (!found_.contains(shape_of(layer.args))) unknown.emplace(shape_of(layer.args), &layer);
  }
  if (unknown.empty()) return {};
  for (const auto& [shape, tile] : cache_.read()) {
    const auto wanted = unknown.find(shape);
    if (wanted == unknown.end() || !can_have(*wanted->second, tile, backend.info())) continue;
    found_[shape] = tile;
    unknown.erase(wanted);
  }
  if (unknown.empty()) return {};
  FoundTiles tried;
  RTAI_TRY(double least, time_run());
  for (const auto& [shape, layer] : unknown) {
    RTAI_TRY(const std::vector<Timed> timed, time_alone(backend, *layer));
    cuda::LinearTile best = layer->args.tile;
    for (const Timed& candidate : timed) {
      if (candidate.tile == layer->args.tile || candidate.ms > kNear * timed.front().ms) continue;
      found_[shape] = candidate.tile;
      RTAI_TRY(const double ms, time_run());
      if (ms >= kWorthIt * least) continue;
      least = ms;
      best = candidate.tile;
    }
    found_[shape] = best;
    tried[shape] = best;
  }
  cache_.add(tried);
  return {};
}

}  // namespace rtai::exec
