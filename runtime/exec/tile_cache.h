// Tiles that were found by trying, in a file that later runs of a program begin with.
#pragma once

#include "runtime/cuda/backend.h"

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string_view>

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
using FoundTiles = std::map<LayerShape, cuda::LinearTile>;

/// The file of one device: text, a line that says what the others hold, then a line for each shape,
///
///   gelu 0 1 0 128 3072 768 w128x128
///
/// function, adds, quantizes, head_dim, rows, columns, k (none larger than an int), and the tile.
/// Its name has the GPU and its driver, and a digest of them, of the kernel and of every tile's
/// shape: other tiles, or other kernels, have another file.
///
/// Nothing here is an error. What cannot be read, is too large or is no such line is as if it were
/// not there; what cannot be written is found again next time. A tile that was read is one of the
/// device's, but perhaps none for that layer: anyone may have written the file.
class TileCache {
 public:
  static constexpr std::size_t kMostShapes = 4096;

  /// Keeps nothing.
  TileCache() = default;
  /// In `folder`, which is made when there is something to keep; empty: keeps nothing.
  TileCache(const std::filesystem::path& folder,
            const cuda::DeviceInfo& device,
            std::string_view kernel);

  /// At most kMostShapes.
  FoundTiles read() const;

  /// Adds `found` to what the file holds by now, or takes its place. Where that is more than
  /// kMostShapes, others go. Two that add in the same moment may lose what one of them found.
  void add(const FoundTiles& found) const;

  /// Empty: keeps nothing.
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  std::span<const cuda::LinearTile> tiles_;  // of the device
};

/// $RTAI_CACHE_DIR, empty if that is set and empty; else the folder rtai in $XDG_CACHE_HOME or, if
/// that is not set or no absolute path, in $HOME/.cache; empty if there is neither.
std::filesystem::path user_cache_folder();

}  // namespace rtai::exec
