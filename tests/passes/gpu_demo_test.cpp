// The demo model, from its file to logits, on the emulated GPU and on the CPU.
#include "libopt/onnx/import.h"
#include "runtime/cuda/emulation/backend.h"
#include "tests/passes/pass_test.h"
#include "tests/support/device_sessions.h"

#include <filesystem>

namespace rtai::passes {
namespace {

std::shared_ptr<const engine::Engine> demo_engine(const std::string& more_passes) {
  const auto file = std::filesystem::path(RTAI_SOURCE_DIR) / "models/demo-snips/model.onnx";
  auto imported = onnx_io::import_onnx(file);
  REQUIRE(imported);
  ir::Graph graph = *std::move(imported);
  PassContext context;
  const auto records =
      run_pipeline(std::string(kRaisePipeline) + more_passes, graph, context, &make);
  INFO((records ? "" : records.error().message()));
  REQUIRE(records);
  return testing::engine_of(graph);
}

/// The largest difference of the GPU's logits from the CPU's, in parts of their range.
double difference(const std::shared_ptr<const engine::Engine>& engine,
                  std::unique_ptr<cuda::Backend> backend = cuda::host::make_backend(132)) {
  Session cpu = Session::create(engine, {.threads = 1}).value();
  Session gpu = Session::create_on(std::move(backend), engine, {.tile_cache = ""}).value();
  const auto tokens = testing::random_sequences({23, 1, 9}, 9000);
  return testing::relative_difference(testing::answers(gpu, tokens), testing::answers(cpu, tokens));
}

TEST_CASE("the demo model in int8 gives the CPU's logits on the emulated GPU") {
  CHECK(difference(demo_engine(",quantize-int8{mode=dynamic}")) == 0);
}

TEST_CASE("the demo model in f32 gives the CPU's logits within 16 bits on the emulated GPU") {
  CHECK(difference(demo_engine("")) < 2e-2);
}

TEST_CASE("the demo model gives the CPU's logits on the GPU of this machine") {
  if (const auto found = cuda::devices(); !found) {
    WARN("skipped: " << found.error().message());
    return;
  }
  CHECK(difference(demo_engine(",quantize-int8{mode=dynamic}"), cuda::make_backend(0).value()) ==
        0);
  const double f32 = difference(demo_engine(""), cuda::make_backend(0).value());
  WARN("f32: " << f32);
  CHECK(f32 < 2e-2);
}

}  // namespace
}  // namespace rtai::passes
