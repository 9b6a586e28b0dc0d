#include "runtime/exec/tile_cache.h"

#include "tests/support/file.h"
#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <optional>

namespace rtai::exec {
namespace {

namespace fs = std::filesystem;
using cuda::LinearTile;

const cuda::DeviceInfo kDevice{.name = "NVIDIA H200",
                               .capability = 90,
                               .memory_bytes = 0,
                               .multiprocessors = 132,
                               .shared_bytes_per_multiprocessor = 228 * 1024,
                               .driver = "13.0"};
constexpr std::string_view kKernel = "linear_i8_wgmma";
const std::string kFirstLine =
    "rtai tiles 1: function adds quantizes head_dim rows columns k tile\n";
const std::string kLine = "gelu 0 1 0 128 3072 768 w128x128\n";
const LayerShape kShape{
    .function = Function::gelu, .quantizes = true, .rows = 128, .columns = 3072, .k = 768};
const FoundTiles kFound{{kShape, LinearTile::w128x128}};

TileCache cache_in(const fs::path& folder) {
  return {folder, kDevice, kKernel};
}

FoundTiles tiles_of_rows(int first, int count) {
  FoundTiles tiles;
  for (int i = 0; i < count; ++i)
    tiles.emplace(LayerShape{.rows = first + i, .columns = 768, .k = 768}, LinearTile::t32x64);
  return tiles;
}

void write(const fs::path& path, const std::string& text) {
  std::ofstream(path, std::ios::binary) << text;
}

TEST_CASE("tiles are read as they were added, whatever the layer") {
  const testing::TempFolder folder;
  FoundTiles found;
  int rows = 0;
  for (const LinearTile tile : cuda::linear_tiles(kDevice.capability)) {
    for (int i = 0; i < kFunctionCount; ++i) {
      found.emplace(LayerShape{.function = static_cast<Function>(i),
                               .adds = i % 2 == 0,
                               .quantizes = i % 3 == 0,
                               .head_dim = 32 * (i % 3),
                               .rows = ++rows,
                               .columns = 2147483647,
                               .k = 768 * i},
                    tile);
    }
  }
  cache_in(folder.path()).add(found);
  CHECK(cache_in(folder.path()).read() == found);
}

TEST_CASE("a file of tiles has a line for each shape") {
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder.path());
  cache.add(kFound);
  CHECK(testing::text_of(cache.path()) == kFirstLine + kLine);
}

TEST_CASE("another GPU, driver or kernel has another file of tiles") {
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder.path());
  cache.add(kFound);
  const auto is_other = [&](const TileCache& other) {
    return other.path() != cache.path() && other.read().empty();
  };
  const auto changed = [&](auto&& change) {
    cuda::DeviceInfo device = kDevice;
    change(device);
    return TileCache(folder.path(), device, kKernel);
  };
  CHECK_FALSE(is_other(changed([](auto&) {})));
  CHECK(is_other(changed([](auto& device) { device.name = "NVIDIA_H200"; })));
  CHECK(is_other(changed([](auto& device) { device.driver = "13.1"; })));
  CHECK(is_other(changed([](auto& device) { device.capability = 80; })));
  CHECK(is_other(changed([](auto& device) { device.multiprocessors = 16; })));
  CHECK(is_other({folder.path(), kDevice, "linear_i8_mma"}));
}

TEST_CASE("a file of tiles lies in its folder, whatever the GPU is called") {
  const testing::TempFolder folder;
  cuda::DeviceInfo device = kDevice;
  device.name = "../a b/\n\xc3\xa9" + std::string(300, 'x');
  device.driver = "/1";
  const TileCache cache(folder / "tiles", device, kKernel);
  CHECK(cache.path().parent_path() == folder / "tiles");
  const std::string name = cache.path().filename().string();
  CHECK(name.substr(0, 22) == "tiles-.._a_b____xxxxxx");
  CHECK(name.find_first_of("/ \n") == name.npos);
  cache.add(kFound);
  CHECK(cache.read() == kFound);
}

TEST_CASE("lines that are none are as if they were not there") {
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder.path());
  for (const std::string line : {
           "",
           "gelu",
           "gelu 0 1 0 128 3072 768",
           "gelu 0 1 0 128 3072 768 ",
           "gelu 0 1 0 128 3072 768 w128x12",
           "gelu 0 1 0 128 3072 768 w128x128 ",
           "gelu 0 1 0 128 3072 768 w128x128\r",
           "gelu 0 1 0 128 3072 768 1 w128x128",
           "gelu 0 1 0 128 3072 768 t64x64",  // not of this device
           "erf 0 1 0 128 3072 768 w128x128",
           "gelu 2 1 0 128 3072 768 w128x128",
           "gelu 0 1 0 -128 3072 768 w128x128",
           "gelu 0 1 0 2147483648 3072 768 w128x128",
           "gelu 0 1 0 99999999999999999999 3072 768 w128x128",
           "gelu 0 1 0 128x 3072 768 w128x128",
           "gelu 0 1 0  128 3072 768 w128x128",
           " gelu 0 1 0 128 3072 768 w128x128",
       }) {
    INFO("'" << line << "'");
    write(cache.path(), kFirstLine + line + "\n");
    CHECK(cache.read().empty());
    write(cache.path(), kFirstLine + line + "\n" + kLine);
    CHECK(cache.read() == kFound);
  }
}

TEST_CASE("a file that is no file of tiles is as if it were not there, and is replaced") {
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder.path());
  std::string noise;
  for (int i = 0; i < 100'000; ++i)
    noise += static_cast<char>(i * i >> 3);
  for (const std::string& text : {
           std::string(),
           kLine,                                 // no first line
           "rtai tiles 2: function\n" + kLine,    // another format
           kFirstLine.substr(0, 20),              // cut
           kFirstLine + kLine.substr(0, 33 - 1),  // its last line
           noise, kFirstLine + noise, kFirstLine + kLine + std::string(1 << 20, '\n'),  // too large
       }) {
    INFO(text.substr(0, 100));
    write(cache.path(), text);
    CHECK(cache.read().empty());
    cache.add(kFound);
    CHECK(testing::text_of(cache.path()) == kFirstLine + kLine);
  }
}

TEST_CASE("what is no file is neither read nor written to") {
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder.path());
  SECTION("a pipe, for which a reader and a writer would wait") {
    REQUIRE(::mkfifo(cache.path().c_str(), 0600) == 0);
  }
  SECTION("a folder") {
    fs::create_directory(cache.path());
  }
  SECTION("a link to a device without end") {
    fs::create_symlink("/dev/zero", cache.path());
  }
  CHECK(cache.read().empty());
  cache.add(kFound);
  CHECK(folder.names() == std::vector<std::string>{cache.path().filename().string()});
  CHECK_FALSE(fs::is_regular_file(cache.path()));
}

TEST_CASE("a folder that tiles cannot be kept in is no error") {
  const testing::TempFolder folder;
  write(folder / "file", "");
  fs::create_directory(folder / "closed");
  fs::permissions(folder / "closed", fs::perms::owner_read | fs::perms::owner_exec);
  std::vector<fs::path> places = {folder / "file", folder / "file/below", "/proc/nowhere",
                                  folder / std::string(300, 'n')};
  if (::geteuid() != 0) places.push_back(folder / "closed");  // root may write there
  for (const fs::path& place : places) {
    INFO(place);
    const TileCache cache = cache_in(place);
    cache.add(kFound);
    CHECK(cache.read().empty());
  }
  CHECK(folder.names() == std::vector<std::string>{"closed", "file"});
  CHECK(fs::is_empty(folder / "closed"));
}

TEST_CASE("a cache without a folder keeps nothing") {
  for (const TileCache& cache : {TileCache(), cache_in("")}) {
    CHECK(cache.path().empty());
    cache.add(kFound);
    CHECK(cache.read().empty());
  }
}

TEST_CASE("the folder of tiles is made when there is something to keep, for its user alone") {
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder / "cache/rtai");
  CHECK(cache.read().empty());
  cache.add({});
  CHECK(folder.names().empty());
  const mode_t mask = ::umask(022);
  cache.add(kFound);
  ::umask(mask);
  CHECK(cache.read() == kFound);
  CHECK(testing::mode_of(folder / "cache") == 0700);
  CHECK(testing::mode_of(folder / "cache/rtai") == 0700);
}

TEST_CASE("adding tiles keeps those that others have added since") {
  const testing::TempFolder folder;
  const TileCache mine = cache_in(folder.path());
  const TileCache theirs = cache_in(folder.path());
  CHECK(mine.read().empty());
  theirs.add(tiles_of_rows(1, 2));
  mine.add(kFound);
  FoundTiles both = tiles_of_rows(1, 2);
  both.insert(kFound.begin(), kFound.end());
  CHECK(mine.read() == both);
  CHECK(theirs.read() == both);

  const FoundTiles newer{{kShape, LinearTile::w64x64}};
  theirs.add(newer);
  CHECK(mine.read().at(kShape) == LinearTile::w64x64);
  CHECK(mine.read().size() == both.size());
}

TEST_CASE("a file of tiles does not grow without end, and what is new is in it") {
  constexpr int kMost = TileCache::kMostShapes;
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder.path());
  cache.add(tiles_of_rows(1, kMost));
  CHECK(cache.read() == tiles_of_rows(1, kMost));
  const FoundTiles more = tiles_of_rows(kMost + 1, 10);
  cache.add(more);
  const FoundTiles now = cache.read();
  CHECK(now.size() == TileCache::kMostShapes);
  for (const auto& [shape, tile] : more)
    CHECK(now.contains(shape));

  // By others, who do not stop there; longer lines than any that are written.
  std::string text = kFirstLine;
  for (int i = 0; i < 2 * kMost; ++i)
    text += "none 0 0 0 " + std::to_string(1 + i) + " 768 768 t32x64\n";
  write(cache.path(), text);
  CHECK(cache.read().size() == TileCache::kMostShapes);
}

TEST_CASE("the longest lines of the most shapes are not too large a file") {
  constexpr int kMost = TileCache::kMostShapes;
  constexpr int kLarge = 2147483647;
  const testing::TempFolder folder;
  const TileCache cache = cache_in(folder.path());
  FoundTiles found;
  for (int i = 0; i < kMost; ++i)
    found.emplace(LayerShape{Function::gelu_tanh, true, true, kLarge, kLarge - i, kLarge, kLarge},
                  LinearTile::w128x192);
  cache.add(found);
  CHECK(cache.read() == found);
}

/// Sets a variable of the environment, or none, until the end of the block.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* before = ::getenv(name)) before_ = before;
    set(value);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { set(before_ ? before_->c_str() : nullptr); }

 private:
  void set(const char* value) const {
    if (value == nullptr)
      ::unsetenv(name_);
    else
      ::setenv(name_, value, 1);
  }

  const char* name_;
  std::optional<std::string> before_;
};

TEST_CASE("the user's cache folder is where the environment says") {
  struct Case {
    const char* chosen;
    const char* caches;
    const char* home;
    const char* expected;
  };
  for (const auto& [chosen, caches, home, expected] : {
           Case{nullptr, nullptr, "/home/me", "/home/me/.cache/rtai"},
           Case{nullptr, "/caches", "/home/me", "/caches/rtai"},
           Case{nullptr, "", "/home/me", "/home/me/.cache/rtai"},
           Case{nullptr, "caches", "/home/me", "/home/me/.cache/rtai"},
           Case{nullptr, nullptr, "me", ""},
           Case{nullptr, nullptr, "", ""},
           Case{nullptr, nullptr, nullptr, ""},
           Case{"/chosen", "/caches", "/home/me", "/chosen"},
           Case{"", "/caches", "/home/me", ""},
       }) {
    const Environment a("RTAI_CACHE_DIR", chosen);
    const Environment b("XDG_CACHE_HOME", caches);
    const Environment c("HOME", home);
    CHECK(user_cache_folder() == expected);
  }
}

}  // namespace
}  // namespace rtai::exec
