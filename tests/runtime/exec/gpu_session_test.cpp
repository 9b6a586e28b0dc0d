// Sessions on the GPU of this machine, against the CPU and the emulation. Skipped without a GPU.
#include "runtime/cuda/backend.h"
#include "runtime/cuda/emulation/backend.h"
#include "runtime/exec/tile_cache.h"
#include "tests/support/device_sessions.h"
#include "tests/support/temp_folder.h"

#include <algorithm>
#include <filesystem>

namespace rtai {
namespace {

using testing::answers;
using testing::difference;
using testing::engine_of;
using testing::kBatches;
using testing::kShapes;
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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Widths with which every tile of a linear layer is chosen, for one batch or the other.
const std::vector<TinyModel> kWideShapes = {
    {.hidden = 384, .heads = 12, .head_dim = 32, .ffn = 1536, .positions = 400},
    {.hidden = 768, .heads = 12, .head_dim = 64, .ffn = 3072, .positions = 400, .pooled = true},
    {.hidden = 256, .heads = 5, .head_dim = 64, .ffn = 700, .positions = 400},
    {.hidden = 1024, .heads = 4, .head_dim = 128, .ffn = 4096, .positions = 400},
};
const std::vector<std::vector<int>> kWideBatches = {
    {1}, {128}, {33, 385, 33, 1}, std::vector<int>(24, 40), std::vector<int>(120, 37)};

TEST_CASE("int8 engines answer on the GPU as on the CPU, for every batch") {
  if (!has_gpu()) return;
  std::vector<double> to_cpu;
  std::vector<double> to_emulation;
  for (const TinyModel& shape : kShapes) {
    const auto engine = engine_of(testing::make_all_int8_model(shape));
    Session cpu = Session::create(engine, {.threads = 1, .target = "ref"}).value();
    Session emulation = Session::create_on(cuda::host::make_backend(132), engine).value();
    Session gpu = on_gpu(engine);
    for (const auto& lengths : kBatches) {
      const TokenSequences tokens = random_sequences(lengths, 101);
      const std::vector<float> values = answers(gpu, tokens);
      to_cpu.push_back(relative_difference(values, answers(cpu, tokens)));
      to_emulation.push_back(relative_difference(values, answers(emulation, tokens)));
    }
  }
  // See "int8 engines answer on the emulated GPU".
  for (const auto& differences : {to_cpu, to_emulation}) {
    CHECK(*std::max_element(differences.begin(), differences.end()) < 2e-2);
    CHECK(median(differences) < 1e-4);
  }
}

TEST_CASE("int8 engines of real widths answer on the GPU as on the CPU, with every tile") {
  if (!has_gpu()) return;
  // Wide rows nearly always have floats that round to one integer here and to its neighbour there,
  // and every such integer moves the floats of the layers after it by more than a rounding: these
  // models end up nearly as far apart as two ways to round. Not further than from f32.
  std::vector<double> differences;
  std::vector<double> of_quantizing;
  for (const TinyModel& shape : kWideShapes) {
    const auto engine = engine_of(testing::make_all_int8_model(shape));
    Session cpu = Session::create(engine, {}).value();
    Session f32 = Session::create(engine_of(testing::make_model(shape)), {}).value();
    Session gpu = on_gpu(engine);
    for (const auto& lengths : kWideBatches) {
      const TokenSequences tokens = random_sequences(lengths, 101);
      const std::vector<float> values = answers(gpu, tokens);
      const std::vector<float> expected = answers(cpu, tokens);
      differences.push_back(difference(values, expected).root_mean_square);
      of_quantizing.push_back(difference(answers(f32, tokens), expected).root_mean_square);
      INFO("hidden " << shape.hidden << " sequences " << lengths.size());
      CHECK(relative_difference(values, expected) < 2e-2);
      CHECK(answers(gpu, tokens) == values);  // the same bytes again
    }
  }
  CHECK(median(differences) < median(of_quantizing));
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
