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

/// What reads a file says against it; nothing if it is understood and proved.
std::string objection(const std::filesystem::path& file) {
  const auto imported = onnx_io::import_onnx(file);
  if (!imported) return imported.error().message();
  ir::Graph graph = *imported;
  PassContext context;
  const auto records = run_pipeline(kRaisePipeline, graph, context, &make);
  if (!records) return records.error().message();
  const auto proof = raise::prove(*imported, graph);
  return proof ? "" : "not proved: " + proof.error().message();
}

/// True if a text is one line that names a place in the file.
bool names_a_place(const std::string& text) {
  const auto has = [&](const char* part) { return text.find(part) != std::string::npos; };
  const bool place = has("node '") || has("input '") || has("output '") || has("initializer '");
  const bool whole = has("no input selects rows") || has("not an ONNX model") || has("opset");
  return (place || whole) && !has("\n");
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

TEST_CASE("every file of other projects is understood and proved, or refused by a place in it",
          "[slow]") {
  const auto folder = testing::shared_file("data/onnx-wild");
  if (!folder) {
    WARN("skipped: data/onnx-wild is not there");
    return;
  }
  std::map<std::string, std::string> objections;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(*folder)) {
    if (entry.path().extension() != ".onnx") continue;
    const std::string name = std::filesystem::relative(entry.path(), *folder).string();
    objections[name] = objection(entry.path());
    INFO(name << ": " << objections[name]);
    CHECK((objections[name].empty() || names_a_place(objections[name])));
  }
  // Whole graphs: what is no encoder, and where it shows.
  for (const auto& [name, part] : std::map<std::string, std::string>{
           {"optimum-onnx/model.onnx", ""},
           {"ort-testdata/bert_toy_optimized.onnx", ""},
           {"ort-extensions/test_bert_tokenizer.onnx", "'ai.onnx.contrib.BertTokenizer'"},
           {"ort-testdata/transformers/tiny_gpt2_beamsearch_fp16.onnx",
            "'com.microsoft.BeamSearch' version 1 (1 node, first at node 'BeamSearch_gpt2'"},
           {"ort-testdata/transformers/tiny_gpt2_greedysearch_with_init_decoder.onnx",
            "'com.microsoft.GreedySearch'"},
           {"ort-transformers/gpt2_megatron.onnx", "input 'past_0'"},
           {"ort-transformers/whisper/hf_fp32_decoder_attention_with_past.onnx",
            "node 'Attention_0' (MultiHeadAttention): attention with a past"},
           {"ort-testdata/qdq_with_multi_consumer_dq_nodes.onnx", "operator 'Conv'"},
           // Attends from each text of the batch to the others: ids and mask are multiplied.
           {"vespa/dummy_transformer.onnx",
            "node 'Gather_2' (Gather): rows of a table are selected by"},
           {"vespa/random_decoder.onnx", "node '/transformer_decoder/layers.0/multihead_attn/"}}) {
    INFO(name << ": " << objections[name]);
    REQUIRE(objections.contains(name));
    CHECK(objections[name].find(part) != std::string::npos);
    CHECK(objections[name].empty() == part.empty());
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
