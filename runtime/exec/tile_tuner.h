// Finds by trying which tiles compute the linear layers of a model fastest on a device.
#pragma once

#include "runtime/cuda/backend.h"
#include "runtime/exec/device_plan.h"
#include "runtime/exec/tile_cache.h"

#include <functional>
#include <span>
#include <utility>

namespace rtai::exec {

LayerShape shape_of(const cuda::LinearArgs& args);

/// Of int8 layers alone: their sums are exact, so that a tile changes no result.
class TileTuner {
 public:
  /// A layer as it runs.
  struct Layer {
    cuda::LinearArgs args;
    TileNeeds needs;
  };

  TileTuner() = default;
  explicit TileTuner(TileCache cache) : cache_(std::move(cache)) {}

  /// The tile that was found for layers of this shape; else `expected`.
  cuda::LinearTile tile(const LayerShape& shape, cuda::LinearTile expected) const;

  /// Finds tiles for layers of shapes that are not known yet: those of the cache, or else those
  /// that are fast alone, with which `time_run`, milliseconds of a run with the tiles of now, is
  /// least; the cache keeps them. Alone is not enough: kernels that follow each other take each
  /// other's place in caches of instructions. What `layers` write has no meaning then, and what
  /// they read need not have any. Takes as long as some 50 runs, or none. Errors: device; those of
  /// time_run.
  Result<void> tune(cuda::Backend& backend,
                    std::span<const Layer> layers,
                    const std::function<Result<double>()>& time_run);

 private:
  TileCache cache_;
  FoundTiles found_;
};

/// The least time of a few runs, in milliseconds. Errors: device.
Result<double> time_graph(cuda::Backend& backend, cuda::Graph& graph);

}  // namespace rtai::exec
