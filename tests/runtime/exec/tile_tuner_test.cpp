#include "runtime/exec/tile_tuner.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <map>

namespace rtai {
namespace {

using cuda::LinearTile;

/// The tiles of the layers that were launched since a recording began.
std::vector<LinearTile>& launched() {
  static std::vector<LinearTile> tiles;
  return tiles;
}

constexpr cuda::Kernel<cuda::LinearI8> kNotes{
    "notes", 90,
    [](const cuda::LinearArgs& args, cuda::Stream) { launched().push_back(args.tile); }};

/// A device on which a recorded layer takes a time that its tile alone decides.
class PricedBackend final : public cuda::Backend {
 public:
  explicit PricedBackend(std::map<LinearTile, double> prices) : prices_(std::move(prices)) {
    kernels_.linear_i8 = &kNotes;
  }

  const cuda::DeviceInfo& info() const override { return info_; }
  const cuda::Kernels& kernels() const override { return kernels_; }
  bool has_clock() const override { return true; }
  Result<cuda::Memory> allocate(std::size_t) override { return cuda::Memory(); }
  Result<cuda::Memory> allocate_host(std::size_t) override { return cuda::Memory(); }
  Result<void> upload(void*, std::span<const std::byte>) override { return {}; }
  Result<std::unique_ptr<cuda::Graph>> record(
      const std::function<void(cuda::Recorder&)>& work) override {
    launched().clear();
    PlainRecorder recorder(kernels_, nullptr);
    work(recorder);
    auto graph = std::make_unique<PricedGraph>();
    for (const LinearTile tile : launched())
      graph->ms += prices_.at(tile);
    tried.push_back(launched().front());
    return Result<std::unique_ptr<cuda::Graph>>(std::move(graph));
  }
  Result<double> run(cuda::Graph& graph) override { return static_cast<PricedGraph&>(graph).ms; }

  std::vector<LinearTile> tried;

 private:
  struct PricedGraph final : cuda::Graph {
    double ms = 0;
  };
  struct PlainRecorder final : cuda::Recorder {
    using Recorder::Recorder;
    void copy(void*, const void*, std::size_t) override {}
    void clear(void*, std::size_t) override {}
  };

  std::map<LinearTile, double> prices_;
  cuda::DeviceInfo info_{.name = "priced",
                         .capability = 90,
                         .memory_bytes = 0,
                         .multiprocessors = 132,
                         .shared_bytes_per_multiprocessor = 228 * 1024,
                         .driver = "none"};
  cuda::Kernels kernels_;
};

exec::TileTuner::Layer layer_of(int rows, LinearTile expected) {
  exec::TileTuner::Layer layer{};
  layer.args.rows.most = rows;
  layer.args.columns = 768;
  layer.args.k = 768;
  layer.args.tile = expected;
  layer.needs.columns = 768;
  return layer;
}

/// All but those named take 2.
std::map<LinearTile, double> prices(const std::map<LinearTile, double>& named) {
  std::map<LinearTile, double> all = named;
  for (const LinearTile tile : cuda::linear_tiles(90))
    all.emplace(tile, 2.0);
  return all;
}

TEST_CASE("a tuner takes the tile with which the whole run is fastest, not the fastest alone") {
  PricedBackend backend(prices({{LinearTile::t32x32, 1.0}, {LinearTile::w64x64, 1.1}}));
  const std::map<LinearTile, double> runs = {
      {LinearTile::t32x32, 30}, {LinearTile::w64x64, 20}, {LinearTile::w128x128, 25}};
  exec::TileTuner tuner;
  const auto layer = layer_of(128, LinearTile::w128x128);
  const exec::LayerShape shape = exec::shape_of(layer.args);
  int timed = 0;
  const auto time_run = [&]() -> Result<double> {
    ++timed;
    return runs.at(tuner.tile(shape, LinearTile::w128x128));
  };
  REQUIRE(tuner.tune(backend, std::array{layer, layer}, time_run));
  CHECK(tuner.tile(shape, LinearTile::w128x128) == LinearTile::w64x64);
  // As expected, and the two that are fast alone: others take too long to be tried in a run.
  CHECK(timed == 3);
  CHECK(std::ranges::count(backend.tried, LinearTile::t32x64) == 1);

  SECTION("once for each shape") {
    const std::size_t before = backend.tried.size();
    REQUIRE(tuner.tune(backend, std::array{layer}, time_run));
    CHECK(backend.tried.size() == before);
    CHECK(timed == 3);
  }
  SECTION("other shapes stay as they are expected") {
    const exec::LayerShape other = exec::shape_of(layer_of(256, LinearTile::t32x32).args);
    CHECK(tuner.tile(other, LinearTile::t32x32) == LinearTile::t32x32);
  }
}

TEST_CASE("a tuner keeps the tile that was expected where another wins less than noise") {
  PricedBackend backend(prices({{LinearTile::t32x32, 1.0}, {LinearTile::w64x64, 1.0}}));
  exec::TileTuner tuner;
  const auto layer = layer_of(128, LinearTile::t32x32);
  const exec::LayerShape shape = exec::shape_of(layer.args);
  const auto time_run = [&]() -> Result<double> {
    return tuner.tile(shape, LinearTile::t32x32) == LinearTile::t32x32 ? 10.0 : 9.95;
  };
  REQUIRE(tuner.tune(backend, std::array{layer}, time_run));
  CHECK(tuner.tile(shape, LinearTile::t32x32) == LinearTile::t32x32);
}

TEST_CASE("a tuner says that a run failed") {
  PricedBackend backend(prices({}));
  exec::TileTuner tuner;
  const auto failed =
      tuner.tune(backend, std::array{layer_of(128, LinearTile::t32x32)}, []() -> Result<double> {
        return Error{ErrorCode::device, "gone"};
      });
  REQUIRE(!failed);
  CHECK(failed.error().code() == ErrorCode::device);
}

}  // namespace
}  // namespace rtai
