#include "runtime/exec/tile_tuner.h"

#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <fstream>
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

/// A device on which w64x64 is the fastest, whatever the layer.
class KeptTiles {
 public:
  explicit KeptTiles(std::filesystem::path folder) : folder_(std::move(folder)) {}

  PricedBackend backend{prices({{LinearTile::w64x64, 1.0}})};

  exec::TileCache cache() const { return cache_of(backend.info()); }
  exec::TileCache cache_of(const cuda::DeviceInfo& device) const {
    return {folder_, device, kNotes.name};
  }

  struct Tuned {
    LinearTile tile;
    int timed_runs;
    bool tries;  // layers alone
  };
  /// What a new tuner, as of another process, does with a layer of which t32x32 is expected.
  Tuned tune(const exec::TileTuner::Layer& layer, const exec::TileCache& cache) {
    exec::TileTuner tuner(cache);
    const exec::LayerShape shape = exec::shape_of(layer.args);
    int timed = 0;
    backend.tried.clear();
    REQUIRE(tuner.tune(backend, std::array{layer}, [&]() -> Result<double> {
      ++timed;
      return tuner.tile(shape, LinearTile::t32x32) == LinearTile::w64x64 ? 10.0 : 20.0;
    }));
    return {tuner.tile(shape, LinearTile::t32x32), timed, !backend.tried.empty()};
  }
  Tuned tune(int rows) { return tune(layer_of(rows, LinearTile::t32x32), cache()); }

 private:
  std::filesystem::path folder_;
};

TEST_CASE("a tuner takes the tiles that another one found, and tries nothing") {
  const testing::TempFolder folder;
  KeptTiles kept(folder.path());
  const auto first = kept.tune(128);
  REQUIRE(first.tile == LinearTile::w64x64);
  REQUIRE(first.timed_runs == 2);
  REQUIRE(first.tries);
  const auto second = kept.tune(128);
  CHECK(second.tile == LinearTile::w64x64);
  CHECK(second.timed_runs == 0);
  CHECK_FALSE(second.tries);

  SECTION("but for shapes that it did not meet; then both are kept") {
    CHECK(kept.tune(256).tries);
    CHECK_FALSE(kept.tune(128).tries);
    CHECK_FALSE(kept.tune(256).tries);
  }
  SECTION("but not those of another GPU or driver") {
    const auto layer = layer_of(128, LinearTile::t32x32);
    cuda::DeviceInfo other = kept.backend.info();
    other.name = "another";
    CHECK(kept.tune(layer, kept.cache_of(other)).tries);
    other = kept.backend.info();
    other.driver = "13.0";
    CHECK(kept.tune(layer, kept.cache_of(other)).tries);
    CHECK_FALSE(kept.tune(128).tries);
  }
  SECTION("but not from a damaged file, which it replaces") {
    std::ofstream(kept.cache().path()) << "no tiles";
    CHECK(kept.tune(128).tries);
    CHECK_FALSE(kept.tune(128).tries);
  }
  SECTION("but not without a cache") {
    const auto layer = layer_of(128, LinearTile::t32x32);
    CHECK(kept.tune(layer, exec::TileCache()).tries);
  }
}

TEST_CASE("a tuner keeps that nothing was faster than what was expected") {
  const testing::TempFolder folder;
  KeptTiles kept(folder.path());
  // Of so many rows there is no tile to be tried.
  const auto first = kept.tune(1 << 20);
  REQUIRE(first.tile == LinearTile::t32x32);
  REQUIRE(first.timed_runs == 1);
  CHECK(kept.tune(1 << 20).timed_runs == 0);
}

TEST_CASE("a tuner does not take a tile that the layer cannot have") {
  const testing::TempFolder folder;
  KeptTiles kept(folder.path());
  auto layer = layer_of(128, LinearTile::t32x32);
  SECTION("as heads would be split") {
    layer.needs.whole = 128;
    kept.cache().add({{exec::shape_of(layer.args), LinearTile::w128x192}});
    const auto tuned = kept.tune(layer, kept.cache());
    CHECK(tuned.tries);
    CHECK(tuned.tile != LinearTile::w128x192);
  }
  SECTION("as blocks that stay cannot meet") {
    layer.needs.meets = true;
    kept.cache().add({{exec::shape_of(layer.args), LinearTile::r128x128}});
    const auto tuned = kept.tune(layer, kept.cache());
    CHECK(tuned.tries);
    CHECK(tuned.tile != LinearTile::r128x128);
  }
  // What was found instead has its place.
  const auto now = kept.cache().read();
  REQUIRE(now.size() == 1);
  CHECK_FALSE(kept.tune(layer, kept.cache()).tries);
}

TEST_CASE("a tuner that cannot keep what it finds finds it all the same") {
  const testing::TempFolder folder;
  std::ofstream(folder / "file") << "no folder";
  KeptTiles kept(folder / "file");
  for (int i = 0; i < 2; ++i) {
    const auto tuned = kept.tune(128);
    CHECK(tuned.tries);
    CHECK(tuned.tile == LinearTile::w64x64);
  }
  CHECK(folder.names() == std::vector<std::string>{"file"});
}

}  // namespace
}  // namespace rtai
