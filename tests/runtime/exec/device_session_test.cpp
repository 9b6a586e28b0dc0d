// A whole session on the emulated GPU, against the same engine on the CPU.
#include "runtime/cuda/emulation/backend.h"
#include "runtime/exec/device_plan.h"
#include "runtime/exec/session.h"
#include "tests/support/device_sessions.h"
#include "tests/support/temp_folder.h"

#include <catch2/catch.hpp>

#include <algorithm>
#include <cmath>
#include <memory>

namespace rtai {
namespace {

using testing::answers;
using testing::engine_of;
using testing::kBatches;
using testing::kShapes;
using testing::make_all_int8_model;
using testing::make_int8_model;
using testing::make_model;
using testing::random_sequences;
using testing::relative_difference;
using testing::TinyModel;
using testing::TokenSequences;

constexpr int kMultiprocessors = 132;

Session on_device(const std::shared_ptr<const engine::Engine>& engine,
                  int multiprocessors = kMultiprocessors,
                  const SessionOptions& options = {}) {
  auto session = Session::create_on(cuda::host::make_backend(multiprocessors), engine, options);
  INFO((session ? "" : session.error().message()));
  REQUIRE(session);
  return std::move(*session);
}

TEST_CASE("int8 engines give the CPU's bits on the emulated GPU, for every batch") {
  // The emulation is slow: of real widths two, and more tokens than a block has keys.
  const std::vector<TinyModel> wide = {testing::kWideShapes[0], testing::kWideShapes[2]};
  const std::vector<std::vector<int>> wide_batches = {{150}};
  for (const auto& [shapes, batches] :
       {std::pair{kShapes, kBatches}, std::pair{wide, wide_batches}}) {
    for (const TinyModel& shape : shapes) {
      const auto engine = engine_of(make_all_int8_model(shape));
      Session cpu = Session::create(engine, {.threads = 1}).value();
      Session reference = Session::create(engine, {.threads = 1, .target = "ref"}).value();
      Session gpu = on_device(engine);
      for (const auto& lengths : batches) {
        INFO("hidden " << shape.hidden << " sequences " << lengths.size());
        const TokenSequences tokens = random_sequences(lengths, 101);
        const std::vector<float> expected = answers(cpu, tokens);
        CHECK(answers(gpu, tokens) == expected);
        CHECK(answers(reference, tokens) == expected);
      }
    }
  }
}

TEST_CASE("engines with int8 layers and f32 attention answer on the emulated GPU within 16 bits") {
  for (const TinyModel& shape : kShapes) {
    const auto engine = engine_of(make_int8_model(shape));
    Session cpu = Session::create(engine, {.threads = 1, .target = "ref"}).value();
    Session gpu = on_device(engine);
    const TokenSequences tokens = random_sequences({5, 1, 40, 12}, 101);
    CHECK(relative_difference(answers(gpu, tokens), answers(cpu, tokens)) < 2e-2);
  }
}

TEST_CASE("f32 engines answer on the emulated GPU as on the CPU within 16 bits") {
  for (const TinyModel& shape : kShapes) {
    const auto engine = engine_of(make_model(shape));
    Session cpu = Session::create(engine, {.threads = 1}).value();
    Session gpu = on_device(engine);
    for (const auto& lengths : kBatches) {
      const TokenSequences tokens = random_sequences(lengths, 101);
      CHECK(relative_difference(answers(gpu, tokens), answers(cpu, tokens)) < 2e-2);
    }
  }
}

TEST_CASE("a small GPU, whose blocks cannot wait for each other, gives the same answers") {
  const auto engine = engine_of(make_all_int8_model({.heads = 3, .head_dim = 32, .ffn = 200}));
  Session large = on_device(engine);
  Session small = on_device(engine, 1);
  const TokenSequences tokens = random_sequences({40, 3, 17}, 101);
  CHECK(answers(small, tokens) == answers(large, tokens));
}

TEST_CASE("a sequence gets the same bytes on a GPU whatever else is in its batch") {
  const auto engine = engine_of(make_all_int8_model({}));
  Session session = on_device(engine);
  const std::vector<float> alone = answers(session, random_sequences({19}, 101, 5));
  // Another tile, too, in the large one.
  for (const std::vector<int>& lengths : {std::vector<int>{19, 40, 7}, std::vector<int>(200, 19)}) {
    const std::vector<float> together = answers(session, random_sequences(lengths, 101, 5));
    CHECK(std::equal(alone.begin(), alone.end(), together.begin()));
  }
}

TEST_CASE("a layer is seven launches on a GPU, int8 or f32") {
  // Classifying every token keeps all rows to the end, so layers are alike.
  const TinyModel two{.layers = 2, .heads = 2, .head_dim = 32};
  const TinyModel three{.layers = 3, .heads = 2, .head_dim = 32};
  const cuda::DeviceInfo device = cuda::host::make_backend(kMultiprocessors)->info();
  const auto launches = [&](const ir::Graph& graph) {
    const exec::Plan plan = exec::make_plan(engine_of(graph)->program);
    return std::ssize(exec::make_device_plan(plan, device)->launches);
  };
  CHECK(launches(make_all_int8_model(three)) - launches(make_all_int8_model(two)) == 7);
  CHECK(launches(make_model(three)) - launches(make_model(two)) == 7);
}

TEST_CASE("a session on a GPU grows, forgets old graphs and says what steps cost") {
  const auto engine = engine_of(make_int8_model({.layers = 1}));
  Session session =
      on_device(engine, kMultiprocessors, {.max_tokens = 8, .max_sequences = 1, .profile = true});
  const TokenSequences tokens = random_sequences({30, 40, 7}, 101);
  const std::vector<float> first = answers(session, tokens);
  for (int sequences = 1; sequences < 36; ++sequences)
    answers(session,
            random_sequences(std::vector<int>(static_cast<std::size_t>(sequences), 2), 101));
  CHECK(answers(session, tokens) == first);
  const auto profile = session.take_profile();
  REQUIRE_FALSE(profile.empty());
  CHECK(profile.front().kind == "embedding");
  CHECK(std::any_of(profile.begin(), profile.end(), [](const StepProfile& step) {
    return step.kernel == "linear_i8_mma" && step.dtype == DType::i8 && step.operations > 0;
  }));
}

TEST_CASE("a session on a GPU refuses what a CPU refuses") {
  Session session = on_device(engine_of(make_int8_model()));
  const std::vector<std::int32_t> offsets = {0, 2};
  const std::vector<std::int32_t> ids = {1, 5000};
  const auto status = session.run({.ids = ids, .segments = {}, .offsets = offsets});
  REQUIRE_FALSE(status);
  CHECK(status.error().code() == ErrorCode::invalid_input);
}

/// The emulation, with a clock by which all runs take the same time.
class ClockedBackend final : public cuda::Backend {
 public:
  explicit ClockedBackend(int& recorded) : recorded_(recorded) {}

  const cuda::DeviceInfo& info() const override { return host_->info(); }
  const cuda::Kernels& kernels() const override { return host_->kernels(); }
  bool has_clock() const override { return true; }
  Result<cuda::Memory> allocate(std::size_t bytes) override { return host_->allocate(bytes); }
  Result<cuda::Memory> allocate_host(std::size_t bytes) override {
    return host_->allocate_host(bytes);
  }
  Result<void> upload(void* dst, std::span<const std::byte> src) override {
    return host_->upload(dst, src);
  }
  Result<std::unique_ptr<cuda::Graph>> record(
      const std::function<void(cuda::Recorder&)>& work) override {
    ++recorded_;
    return host_->record(work);
  }
  Result<double> run(cuda::Graph& graph) override {
    RTAI_TRY_VOID(host_->run(graph));
    return 1.0;
  }

 private:
  std::unique_ptr<cuda::Backend> host_ = cuda::host::make_backend(kMultiprocessors);
  int& recorded_;
};

TEST_CASE("a session on a device with a clock takes the tiles that an earlier one kept") {
  const testing::TempFolder folder;
  const auto engine = engine_of(make_all_int8_model({.layers = 1}));
  const TokenSequences tokens = random_sequences({3}, 101);
  const std::vector<float> expected = [&] {
    Session session = on_device(engine);
    return answers(session, tokens);
  }();
  /// How many graphs a session records for its first batch.
  const auto recorded = [&](const SessionOptions& options) {
    int count = 0;
    auto session = Session::create_on(std::make_unique<ClockedBackend>(count), engine, options);
    REQUIRE(session);
    CHECK(answers(*session, tokens) == expected);
    return count;
  };
  const std::filesystem::path kept = folder / "tiles";
  CHECK(recorded({.tune_tiles = false, .tile_cache = kept}) == 1);
  CHECK(recorded({.tile_cache = ""}) > 1);
  CHECK(folder.names().empty());
  CHECK(recorded({.tile_cache = kept}) > 1);
  CHECK(folder.names() == std::vector<std::string>{"tiles"});
  CHECK(recorded({.tile_cache = kept}) == 1);
}

TEST_CASE("sessions without a clock, and those on a CPU, do not touch the folder of tiles") {
  const testing::TempFolder folder;
  const auto engine = engine_of(make_all_int8_model({.layers = 1}));
  const TokenSequences tokens = random_sequences({3}, 101);
  Session emulated = on_device(engine, kMultiprocessors, {.tile_cache = folder / "tiles"});
  answers(emulated, tokens);
  Session cpu = Session::create(engine, {.threads = 1, .tile_cache = folder / "tiles"}).value();
  answers(cpu, tokens);
  CHECK(folder.names().empty());
}

}  // namespace
}  // namespace rtai
