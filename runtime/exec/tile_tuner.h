// Finds by trying which tiles compute the linear layers of a model fastest on a device.
#pragma once

#include "runtime/cuda/backend.h"
#include "runtime/exec/device_plan.h"

#include <functional>
#include <map>
#include <span>

namespace rtai::exec {

/// What a layer's time depends on.
struct LayerShape {
  Function function = {};
  bool adds = false;  // a residual
  bool quantizes = false;
  int head_dim = 0;  // of heads that are written; 0: none
  int rows = 0;
  int columns = 0;
  int k = 0;

  friend auto operator<=>(const LayerShape&, const LayerShape&) = default;
};
LayerShape shape_of(const cuda::LinearArgs& args);

/// Of int8 layers alone: their sums are exact, so that a tile changes no result.
class TileTuner {
 public:
  /// A layer as it runs.
  struct Layer {
    cuda::LinearArgs args;
    TileNeeds needs;
  };

  /// The tile that was found for layers of this shape; else `expected`.
  cuda::LinearTile tile(const LayerShape& shape, cuda::LinearTile expected) const;

  /// Finds tiles for layers of shapes that are not known yet: those that are fast alone, with which
  /// `time_run`, milliseconds of a run with the tiles of now, is least. Alone is not enough:
  /// kernels that follow each other take each other's place in caches of instructions. What
  /// `layers` write has no meaning then, and what they read need not have any. Takes as long as
  /// some 50 runs. Errors: device; those of time_run.
  Result<void> tune(cuda::Backend& backend,
                    std::span<const Layer> layers,
                    const std::function<Result<double>()>& time_run);

 private:
  std::map<LayerShape, cuda::LinearTile> found_;
};

/// The least time of a few runs, in milliseconds. Errors: device.
Result<double> time_graph(cuda::Backend& backend, cuda::Graph& graph);

}  // namespace rtai::exec
