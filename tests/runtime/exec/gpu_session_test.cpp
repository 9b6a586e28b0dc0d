// Sessions on the GPU of this machine, against the CPU. Skipped without a GPU.
#include "runtime/cuda/backend.h"
#include "runtime/exec/tile_cache.h"
#include "tests/support/device_sessions.h"
#include "tests/support/temp_folder.h"

#include <filesystem>

namespace rtai {
namespace {

using testing::answers;
using testing::engine_of;
using testing::kBatches;
using testing::kShapes;
using testing::kWideShapes;
using testing::random_sequences;
using testing::relative_difference;
using testing::TinyModel;
using testing::TokenSequences;

bool has_gpu() {
  const auto found = cuda::devices();
  if (!found) WARN("skipped: " << found.error().message());
  return found.has_value();
}

/// Tries tiles itself, unless told of a folder.
Session on_gpu(const std::shared_ptr<const engine::Engine>& engine,
               const std::filesystem::path& cache = {}) {
  auto session = Session::create(engine, {.gpu = 0, .tile_cache = cache});
  INFO((session ? "" : session.error().message()));
  REQUIRE(session);
  return std::move(*session);
}

const std::vector<std::vector<int>> kWideBatches = {
    {1}, {128}, {33, 385, 33, 1}, std::vector<int>(24, 40), std::vector<int>(120, 37)};

TEST_CASE("int8 engines answer on the GPU as on the CPU, bit by bit, with every tile") {
  if (!has_gpu()) return;
  for (const auto& [shapes, batches] :
       {std::pair{kShapes, kBatches}, std::pair{kWideShapes, kWideBatches}}) {
    for (const TinyModel& shape : shapes) {
      const auto engine = engine_of(testing::make_all_int8_model(shape));
      Session cpu = Session::create(engine, {}).value();
      Session gpu = on_gpu(engine);
      for (const auto& lengths : batches) {
        INFO("hidden " << shape.hidden << " sequences " << lengths.size());
        const TokenSequences tokens = random_sequences(lengths, 101);
        const std::vector<float> expected = answers(cpu, tokens);
        CHECK(answers(gpu, tokens) == expected);
        CHECK(answers(gpu, tokens) == expected);  // with the buffers of the run before
      }
    }
  }
}

TEST_CASE("f32 engines answer on the GPU as on the CPU within 16 bits") {
  if (!has_gpu()) return;
  for (const auto& [shapes, batches] :
       {std::pair{kShapes, kBatches}, std::pair{kWideShapes, kWideBatches}}) {
    for (const TinyModel& shape : shapes) {
      const auto engine = engine_of(testing::make_model(shape));
      Session cpu = Session::create(engine, {}).value();
      Session gpu = on_gpu(engine);
      for (const auto& lengths : batches) {
        INFO("hidden " << shape.hidden << " sequences " << lengths.size());
        const TokenSequences tokens = random_sequences(lengths, 101);
        CHECK(relative_difference(answers(gpu, tokens), answers(cpu, tokens)) < 2e-2);
      }
    }
  }
}

TEST_CASE("two sessions on one GPU do not disturb each other") {
  if (!has_gpu()) return;
  const auto engine = engine_of(testing::make_all_int8_model(kWideShapes[0]));
  Session first = on_gpu(engine);
  Session second = on_gpu(engine);
  const TokenSequences tokens = random_sequences({40, 17, 3}, 101);
  const std::vector<float> expected = answers(first, tokens);
  for (int i = 0; i < 20; ++i) {
    CHECK(answers(second, tokens) == expected);
    CHECK(answers(first, tokens) == expected);
  }
}

TEST_CASE("tiles that were found on one GPU are kept for the next session") {
  if (!has_gpu()) return;
  const testing::TempFolder folder;
  const auto engine = engine_of(testing::make_all_int8_model(kWideShapes[0]));
  const TokenSequences tokens = random_sequences({40, 17, 3}, 101);
  Session first = on_gpu(engine, folder.path());
  const std::vector<float> expected = answers(first, tokens);
  const auto device = cuda::make_backend(0);
  REQUIRE(device);
  const exec::TileCache cache(folder.path(), (*device)->info(),
                              (*device)->kernels().linear_i8->name);
  CHECK_FALSE(cache.read().empty());
  const auto written = std::filesystem::last_write_time(cache.path());
  Session second = on_gpu(engine, folder.path());
  CHECK(answers(second, tokens) == expected);
  CHECK(std::filesystem::last_write_time(cache.path()) == written);
}

}  // namespace
}  // namespace rtai
