// Real models, raised and proved from their files.
#include "libopt/onnx/import.h"
#include "libopt/raise/prove.h"
#include "tests/passes/pass_test.h"
#include "tests/support/shared_files.h"

namespace rtai::passes {
namespace {

/// The raised graph of a file whose proof must succeed; nothing if the file is not there.
std::optional<ir::Graph> raised_file(const std::string& relative) {
  const auto file = testing::shared_file(relative);
  if (!file) {
    WARN("skipped: " << relative << " is not there");
    return std::nullopt;
  }
  const auto imported = onnx_io::import_onnx(*file);
  INFO((imported ? "" : imported.error().message()));
  REQUIRE(imported);
  ir::Graph graph = *imported;
  PassContext context;
  const auto records = run_pipeline(kRaisePipeline, graph, context, &make);
  INFO((records ? "" : records.error().message()));
  REQUIRE(records);
  const auto proof = raise::prove(*imported, graph);
  INFO((proof ? "" : proof.error().message()));
  REQUIRE(proof);
  return graph;
}

std::string layer() {
  return "linear attention linear add layer_norm linear activation linear add layer_norm ";
}

}  // namespace

TEST_CASE("MiniLM for tokens is an embedding, six layers and a head") {
  const auto graph = raised_file("models/minilm-snips/model.onnx");
  if (!graph) return;
  std::string expected = "embedding layer_norm ";
  for (int i = 0; i < 6; ++i)
    expected += layer();
  CHECK(ops(*graph) == expected + "linear");
  CHECK(to_string(graph->type(graph->outputs()[0])) == "f32[tokens, 72]");
}

TEST_CASE("MiniLM for sequences pools the first token") {
  const auto graph = raised_file("models/minilm-banking77/model.onnx");
  if (!graph) return;
  std::string expected = "embedding layer_norm ";
  for (int i = 0; i < 6; ++i)
    expected += layer();
  CHECK(ops(*graph) == expected + "first_token linear activation linear");
  CHECK(to_string(graph->type(graph->outputs()[0])) == "f32[sequences, 77]");
}

TEST_CASE("a small model for tokens raises like a large one") {
  const auto graph = raised_file("models/demo-snips/model.onnx");
  if (!graph) return;
  CHECK(graph->nodes_of(ir::Op::attention).size() == 4);
}

TEST_CASE("whole models of other projects raise") {
  if (const auto graph = raised_file("data/onnx-wild/optimum-onnx/model.onnx")) {
    CHECK(graph->nodes_of(ir::Op::attention).size() == 2);
  }
  if (const auto graph = raised_file("data/onnx-wild/ort-testdata/bert_toy_optimized.onnx")) {
    CHECK(graph->nodes_of(ir::Op::attention).size() == 5);
    CHECK(graph->outputs().size() == 2);
  }
}

TEST_CASE("gelu and layer normalization in the spellings of other projects are found") {
  for (const char* const name :
       {"fast_gelu2", "fast_gelu3_with_casts", "fast_gelu_use_graph_input", "gelu",
        "gelu_format2_0", "gelu_format2_1", "layer_norm_fusion_scale_bias",
        "layer_norm_shared_input", "layer_norm_with_cast_2"}) {
    const auto graph =
        raised_file(std::string("data/onnx-wild/ort-fusion-patterns/") + name + ".onnx");
    if (graph) CHECK(graph->order().size() <= 2);
  }
}

}  // namespace rtai::passes
