// The demo model, from its file to logits, on the emulated GPU and on the CPU.
#include "libopt/lower/lower.h"
#include "libopt/onnx/import.h"
#include "runtime/cuda/emulation/backend.h"
#include "runtime/exec/session.h"
#include "tests/passes/pass_test.h"
#include "tests/support/batches.h"

#include <algorithm>
#include <cmath>
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
  return std::make_shared<const engine::Engine>(lower(graph).value());
}

std::vector<float> answers(Session& session, const testing::TokenSequences& tokens) {
  const auto status = session.run(tokens.batch());
  INFO((status ? "" : status.error().message()));
  REQUIRE(status);
  const auto output = session.output(0).flat();
  return {output.begin(), output.end()};
}

/// Differences of logits between GPU and CPU, in parts of their range.
struct Difference {
  double largest = 0;
  double root_mean_square = 0;
};

Difference difference(const std::shared_ptr<const engine::Engine>& engine,
                      std::unique_ptr<cuda::Backend> backend = cuda::host::make_backend(132)) {
  Session cpu = Session::create(engine, {.threads = 1}).value();
  Session gpu = Session::create_on(std::move(backend), engine).value();
  const auto tokens = testing::random_sequences({23, 1, 9}, 9000);
  const std::vector<float> expected = answers(cpu, tokens);
  const std::vector<float> values = answers(gpu, tokens);
  REQUIRE(values.size() == expected.size());
  const auto [low, high] = std::minmax_element(expected.begin(), expected.end());
  const double range = double{*high} - *low;
  Difference found;
  double squares = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double distance = std::fabs(double{values[i]} - expected[i]) / range;
    squares += std::isfinite(distance) ? distance * distance : HUGE_VAL;
    found.largest = std::max(found.largest, distance);
  }
  found.root_mean_square = std::sqrt(squares / static_cast<double>(values.size()));
  return found;
}

TEST_CASE("the demo model in int8 gives the CPU's logits on the emulated GPU") {
  // Norms are summed in another order and gelu is another polynomial: a float that differs in its
  // last bit may round to the neighbouring integer, as between instruction sets of the CPU.
  const Difference found = difference(demo_engine(",quantize-int8{mode=dynamic}"));
  CHECK(found.root_mean_square < 1e-3);
  CHECK(found.largest < 1e-2);
}

TEST_CASE("the demo model in f32 gives the CPU's logits within 16 bits on the emulated GPU") {
  CHECK(difference(demo_engine("")).largest < 2e-2);
}

TEST_CASE("the demo model gives the CPU's logits on the GPU of this machine") {
  if (const auto found = cuda::devices(); !found) {
    WARN("skipped: " << found.error().message());
    return;
  }
  const Difference int8 =
      difference(demo_engine(",quantize-int8{mode=dynamic}"), cuda::make_backend(0).value());
  WARN("int8: largest " << int8.largest << ", rms " << int8.root_mean_square);
  CHECK(int8.root_mean_square < 1e-3);
  CHECK(int8.largest < 1e-2);
  const Difference f32 = difference(demo_engine(""), cuda::make_backend(0).value());
  WARN("f32: largest " << f32.largest << ", rms " << f32.root_mean_square);
  CHECK(f32.largest < 2e-2);
}

}  // namespace
}  // namespace rtai::passes
