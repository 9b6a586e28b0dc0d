// Models of other projects: each is imported or refused with a reason, and none can do harm.
#include "libopt/onnx/import.h"
#include "libopt/reference/interpret.h"
#include "tests/support/shared_files.h"

#include <catch2/catch.hpp>
#include <fmt/format.h>

#include <algorithm>

namespace rtai {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> models_in(const fs::path& folder) {
  std::vector<fs::path> models;
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.path().extension() == ".onnx") models.push_back(entry.path());
  }
  std::sort(models.begin(), models.end());
  return models;
}

/// Ones, of two for each dimension that is not fixed.
std::vector<ir::Tensor> plain_inputs(const ir::Graph& graph) {
  std::vector<ir::Tensor> inputs;
  for (const ir::ValueId input : graph.inputs()) {
    ir::Dims dims;
    for (const ir::Dim& dim : graph.type(input).dims.value_or(std::vector<ir::Dim>{})) {
      dims.push_back(dim.is_fixed() ? dim.size : 2);
    }
    const Index elements = ir::element_count(dims).value();
    const std::vector<float> ones(static_cast<std::size_t>(elements), 1.0f);
    inputs.push_back(ir::Tensor::from<float>(dims, ones).converted(graph.type(input).dtype));
  }
  return inputs;
}

TEST_CASE("models of other projects are imported or refused with a reason") {
  const auto folder = testing::shared_file("data/onnx-wild");
  if (!folder) {
    WARN("skipped: data/onnx-wild is not there");
    return;
  }
  int imported = 0;
  int refused = 0;
  int ran = 0;
  for (const fs::path& path : models_in(*folder)) {
    INFO(path);
    const auto graph = onnx_io::import_onnx(path);
    if (!graph) {
      ++refused;
      const ErrorCode code = graph.error().code();
      CHECK((code == ErrorCode::unsupported || code == ErrorCode::invalid_input));
      CHECK_FALSE(graph.error().message().empty());
      continue;
    }
    ++imported;
    const auto outputs = reference::interpret(*graph, plain_inputs(*graph));
    if (outputs)
      ++ran;
    else
      CHECK(outputs.error().code() == ErrorCode::invalid_input);
  }
  WARN(fmt::format("{} imported, {} of them run on plain inputs, {} refused", imported, ran,
                   refused));
  CHECK(imported > 200);
  CHECK(ran > 180);
}

TEST_CASE("the shared models are imported and answer") {
  for (const char* name : {"demo-snips", "minilm-snips", "minilm-banking77"}) {
    const auto path = testing::shared_file(fs::path("models") / name / "model.onnx");
    if (!path) {
      WARN("skipped: models/" << name << " is not there");
      continue;
    }
    INFO(*path);
    const auto graph = onnx_io::import_onnx(*path);
    REQUIRE(graph);
    const auto outputs = reference::interpret(*graph, plain_inputs(*graph));
    INFO((outputs ? "" : outputs.error().message()));
    REQUIRE(outputs);
    CHECK(outputs->at(0).dim(0) == 2);
  }
}

}  // namespace
}  // namespace rtai
