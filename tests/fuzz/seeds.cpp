// Writes the small inputs of our own that fuzzing begins with.
//
// usage: fuzz_seeds FOLDER            (tests/fuzz/corpus)
#include "libopt/ir/text.h"
#include "libopt/lower/lower.h"
#include "libopt/onnx/export.h"
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"
#include "runtime/text/tokenizer.h"
#include "tests/support/models.h"
#include "tests/support/small_engines.h"

#include <onnx/defs/parser.h>
#include <onnx/onnx_pb.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

namespace rtai {
namespace {

namespace fs = std::filesystem;
using Bytes = std::vector<std::byte>;

void write(const fs::path& path, std::span<const std::byte> bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()), std::ssize(bytes));
}

void write(const fs::path& path, std::string_view text) {
  write(path, std::as_bytes(std::span(text)));
}

// --- ONNX

struct OnnxSeed {
  const char* name;
  int version;
  const char* graph;
};

constexpr OnnxSeed kOnnxSeeds[] = {
    {"add", 17, "(float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Add(x, w) }"},
    {"chain", 13,
     "(float[b, 2] x) => (float y, float z) { y = Neg(b)  b = Abs(a)  a = Sqrt(x)  z = Erf(b) }"},
    {"constants", 17, R"((float[2] x) => (float y) {
       a = Constant <value = float[2] {10, 20}> ()  b = Constant <value_float = 2.0> ()
       c = Constant <value_ints = [1, 2]> ()  d = Cast <to = 1> (c)
       e = Add(a, b)  f = Mul(d, e)  y = Sub(x, f) })"},
    {"typed", 17, R"((float[2] x) => (float y) <int64[2] i = {1, 0}, int32[2] j = {1, 2},
       bool[2] k = {1, 0}, double[2] d = {1, 2}, uint8[2] u = {1, 2}> {
       a = Gather(x, i)  b = Cast <to = 1> (j)  c = Where(k, a, b)  e = Cast <to = 1> (d)
       f = Add(c, e)  g = Cast <to = 1> (u)  y = Add(f, g) })"},
    {"layout", 17, R"((float[2, 3, 4] x) => (float y) <int64[2] s = {6, -1}, int64[1] ax = {1},
       int64[1] lo = {0}, int64[1] hi = {2}, int64[2] parts = {1, 1}> {
       a = Transpose <perm = [0, 2, 1]> (x)  b = Reshape(a, s)  c = Slice(b, lo, hi, ax)
       d, e = Split <axis = 1> (c, parts)  f = Concat <axis = -1> (d, e)
       g = Unsqueeze(f, ax)  h = Squeeze(g, ax)  y = Flatten <axis = 1> (h) })"},
    {"shapes", 17, R"((float[b, s, 4] x) => (float y) <int64 one = {1}, int64[1] ax = {0}> {
       a = Shape(x)  b = Gather(a, one)  c = Unsqueeze(b, ax)  d = Concat <axis = 0> (c, c)
       e = ConstantOfShape <value = float[1] {1}> (d)  f = Expand(e, d)  g = Trilu <upper = 1> (f)
       y = ReduceSum <keepdims = 0> (g, ax) })"},
    {"range", 17, R"((int64[2] x) => (int64 y) <int64 lo = {0}, int64 hi = {6}, int64 by = {2},
       int64[1] n = {3}> { a = Range(lo, hi, by)  b = Tile(a, n)  c = CumSum(b, lo)
       d = OneHot <axis = -1> (c, hi, v)  v = Constant <value_ints = [0, 1]> ()
       y = ArgMax <axis = 0, keepdims = 0> (d) })"},
    {"indices", 17, R"((float[2, 3] x) => (float y) <int64[1, 2] i = {0, 1}, int64[2, 1] j = {1, 0},
       float[1] u = {5}> { a = GatherND(x, i)  b = ScatterND(x, i, u)
       c = GatherElements <axis = 1> (b, j)  y = Add(c, a) })"},
    {"old_axes", 9, R"((float[1, 2, 2] x) => (float y) {
       a = Squeeze <axes = [0]> (x)  b = Unsqueeze <axes = [0, 3]> (a)
       c = Slice <axes = [1], starts = [0], ends = [9]> (b)  d = ReduceMean <axes = [-1]> (c)
       e = Clip <min = -1.0, max = 1.0> (d)  f = Pad <pads = [0, 0, 0, 0, 1, 0, 0, 0]> (e)
       g = ReduceSum <axes = [0], keepdims = 0> (f)  y = Softmax <axis = 1> (g) })"},
    {"oldest", 4, "(float[1, 4] x) => (float y) { y = Reshape <shape = [2, 2]> (x) }"},
    {"softmax", 11, R"((float[2, 2, 2] x) => (float y) {
       a = Softmax <axis = 1> (x)  y = LogSoftmax <axis = 2> (a) })"},
    {"products", 17, R"((float[2, 3] x) => (float y) <float[4, 3] w = {1,2,3,4,5,6,7,8,9,1,2,3},
       float[4] b = {1, 2, 3, 4}, float[4, 2] v = {1,2,3,4,5,6,7,8}> {
       a = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, b)  y = MatMul(a, v) })"},
    {"einsum", 17,
     R"((float[2, 3] x) => (float y) { y = Einsum <equation = "ij,kj->ik"> (x, x) })"},
    {"norm", 17,
     R"((float[2, 4] x) => (float y) <float[4] w = {1, 1, 1, 1}, float[4] b = {0, 0, 0, 0}>
       { a = LayerNormalization <axis = -1, epsilon = 0.001> (x, w, b)  b2 = Identity(a)
         c = Dropout(b2)  d = Relu(c)  e = Sigmoid(d)  f = Tanh(e)  y = Pow(f, t)
         t = Constant <value_float = 2.0> () })"},
    {"gelu", 20,
     R"((float[2] x) => (float y) { a = Gelu <approximate = "tanh"> (x)  y = Gelu(a) })"},
    {"logic", 17, R"((float[2] x, float[2] z) => (float y) { a = Equal(x, z)  b = Less(x, z)
       c = Or(a, b)  d = Not(c)  e = And(d, c)  f = Xor(e, a)  g = IsNaN(x)  h = Or(f, g)
       y = Where(h, x, z) })"},
    {"quantized", 21, R"((float[2, 2] x) => (float y) <float s = {0.5}, int8 z = {0},
       int8[2, 2] w = {1, 2, 3, 4}> { q = QuantizeLinear(x, s, z)  a = DequantizeLinear(q, s, z)
       b = DequantizeLinear(w, s, z)  y = MatMul(a, b) })"},
    {"dynamic", 17, R"((float[2, 2] x) => (float y) <uint8[2, 2] w = {1, 2, 3, 4}, uint8 z = {0}> {
       q, s, p = DynamicQuantizeLinear(x)  i = MatMulInteger(q, w, p, z)  f = Cast <to = 1> (i)
       y = Mul(f, s) })"},
    {"contrib", 17, R"((float[2, 4] x, float[4] b) => (float y) { a = com.microsoft.BiasGelu(x, b)
       c = com.microsoft.FastGelu(a, b)  d = com.microsoft.QuickGelu <alpha = 2.0> (c)
       y = com.microsoft.FusedMatMul <alpha = 0.5, transB = 1> (d, d) })"},
    {"skip_norm", 17, R"((float[1, 2, 4] x, float[4] w) => (float y, float sum) {
       y, , , sum = com.microsoft.SkipLayerNormalization <epsilon = 0.001> (x, x, w, w, w) })"},
    {"embed_norm", 17, R"((int32[1, 2] ids, int32[1, 2] mask) => (float y, int32 n)
       <float[3, 2] word = {1,2,3,4,5,6}, float[3, 2] pos = {1,2,3,4,5,6}, float[2] w = {1, 1}> {
       y, n = com.microsoft.EmbedLayerNormalization <epsilon = 0.001>
         (ids, , word, pos, , w, w, mask) })"},
    {"fused_attention", 17, R"((float[1, 2, 4] x, int32[1, 2] m) => (float y)
       <float[4, 12] w = {1,2,3,4,5,6,7,8,9,1,2,3,1,2,3,4,5,6,7,8,9,1,2,3,1,2,3,4,5,6,7,8,9,1,2,3,1,2,3,4,5,6,7,8,9,1,2,3},
        float[12] b = {1,2,3,4,5,6,7,8,9,1,2,3}> {
       y = com.microsoft.Attention <num_heads = 2> (x, w, b, m) })"},
    {"multi_head", 17, R"((float[1, 2, 4] q) => (float y) {
       y = com.microsoft.MultiHeadAttention <num_heads = 2> (q, q, q) })"},
    {"attention", 23, R"((float[1, 2, 4] q) => (float y) {
       y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, q, q) })"},
    {"branches", 17, R"((bool c, float[1] x) => (float y) {
       y = If (c) <then_branch = g1 () => (float a) { a = Identity(x) },
                   else_branch = g2 () => (float b) { b = Neg(x) }> })"},
    {"lookup", 17,
     R"((int64[b, s] ids) => (float y) <float[3, 2] t = {1,2,3,4,5,6}, float[2] w = {1, 1},
       float[2, 2] v = {1, 2, 3, 4}> { a = Gather(t, ids)  n = LayerNormalization (a, w, w)
       y = MatMul(n, v) })"},
};

std::string serialize(const OnnxSeed& seed) {
  onnx::ModelProto model;
  const std::string text = "<ir_version: 8, opset_import: [\"\" : " + std::to_string(seed.version) +
                           "]> g " + seed.graph;
  const auto status = onnx::OnnxParser::Parse(model, text.c_str());
  if (!status.IsOK()) {
    std::fprintf(stderr, "%s: %s\n", seed.name, status.ErrorMessage().c_str());
    std::exit(1);
  }
  return model.SerializeAsString();
}

onnx::TensorProto packed(const char* name,
                         int type,
                         const std::vector<int>& dims,
                         std::string bytes) {
  onnx::TensorProto tensor;
  tensor.set_name(name);
  tensor.set_data_type(type);
  for (const int dim : dims)
    tensor.add_dims(dim);
  tensor.set_raw_data(std::move(bytes));
  return tensor;
}

/// Weights of 4 bits by blocks, integers or floats whose scales are powers of two.
std::string small_numbers(int type, const onnx::TensorProto& scales) {
  constexpr OnnxSeed kSeed = {"", 25, R"((float[2, 4] x) => (float y) {
       a = DequantizeLinear <axis = 0, block_size = 2, output_dtype = 1> (w, s)
       q = Cast <to = 17, saturate = 0> (x)  r = Cast <to = 1> (q)  y = MatMul(r, a) })"};
  onnx::ModelProto model;
  model.ParseFromString(serialize(kSeed));
  *model.mutable_graph()->add_initializer() = packed("w", type, {4, 3}, "\x12\x8f\x70\x3c\x0f\xe1");
  *model.mutable_graph()->add_initializer() = scales;
  return model.SerializeAsString();
}

void write_onnx(const fs::path& folder) {
  for (const OnnxSeed& seed : kOnnxSeeds)
    write(folder / seed.name, serialize(seed));

  constexpr int kFloat = onnx::TensorProto::FLOAT;
  write(folder / "int4", small_numbers(22, packed("s", kFloat, {2, 3}, std::string(24, '\x3f'))));
  write(folder / "micro", small_numbers(23, packed("s", 24, {2, 3}, "\x7f\x80\x7e\x7f\x7d\x81")));

  // Of an exporter with more to say: raw data, external data, and what import leaves aside.
  onnx::ModelProto model;
  model.ParseFromString(serialize(kOnnxSeeds[0]));
  model.set_producer_name("maker");
  model.set_producer_version("1");
  onnx::TensorProto& weight = *model.mutable_graph()->mutable_initializer(0);
  weight.clear_float_data();
  weight.set_raw_data(std::string(8, '\1'));
  write(folder / "raw", model.SerializeAsString());
  weight.clear_raw_data();
  weight.set_data_location(onnx::TensorProto::EXTERNAL);
  onnx::StringStringEntryProto& entry = *weight.add_external_data();
  entry.set_key("location");
  entry.set_value("weights");
  model.add_metadata_props()->set_key("rtai.pipeline");
  model.add_functions()->set_name("f");
  write(folder / "external", model.SerializeAsString());

  // Sizes that only a file can claim.
  onnx::ModelProto huge;
  huge.ParseFromString(serialize(kOnnxSeeds[0]));
  for (const char* name : {"claim_a", "claim_b"}) {
    onnx::TensorProto& claim = *huge.mutable_graph()->add_initializer();
    claim.set_name(name);
    claim.set_data_type(kFloat);
    claim.add_dims(std::int64_t{1} << 62);
  }
  write(folder / "huge_sizes", huge.SerializeAsString());

  const testing::TinyModel tiny = {.layers = 1,
                                   .hidden = 4,
                                   .heads = 2,
                                   .head_dim = 2,
                                   .ffn = 2,
                                   .vocabulary = 3,
                                   .positions = 4,
                                   .labels = 2,
                                   .segments = false};
  const Bytes encoder = onnx_io::export_onnx(testing::make_model(tiny), {}).value();
  write(folder / "encoder", encoder);
}

// --- engines

constexpr std::pair<const char*, const char*> kEngineSeeds[] = {
    {"activation",
     "graph (%x: f32[tokens, 3]) { %y = activation(%x) {kind = \"gelu\"} return %y }"},
    {"rows", testing::kRowsGraph},
    {"attention", R"(graph (%x: f32[tokens, 12]) {
       %a = attention(%x) {heads = 2, head_dim = 2, scale = 0.5, causal = 1}
       return %a
     })"},
    {"attention_i8", R"(graph (%x: f32[tokens, 12]) {
       %a = attention(%x) {heads = 2, head_dim = 2, scale = 0.5, bits = 8}
       return %a
     })"},
    {"layer_norm", R"(graph (%x: f32[tokens, 4]) {
       @w: f32[4] = random
       @b: f32[4] = random
       %y = layer_norm(%x, @w, @b) {epsilon = 0.001}
       return %y
     })"},
    {"linear", R"(graph (%x: f32[tokens, 4]) {
       @w: f32[3, 4] = random
       @b: f32[3] = random
       %y = linear(%x, @w, @b)
       return %y
     })"},
    {"embedding", R"(graph (%ids: i32[tokens], %segments: i32[tokens]) {
       @word: f32[5, 4] = random
       @position: f32[6, 4] = random
       @segment: f32[2, 4] = random
       %y = embedding(%ids, %segments, @word, @position, @segment) {position_offset = 2}
       return %y
     })"},
};

ir::Graph with(ir::Graph graph, const char* pipeline) {
  PassContext context;
  run_pipeline(pipeline, graph, context, passes::make).value();
  return graph;
}

Bytes small_tokenizer() {
  const std::vector<std::string> pieces = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##b"};
  return text::Tokenizer::create(pieces, text::WordPieceSettings{}).value().serialize();
}

void write_engines(const fs::path& folder) {
  const auto save = [&](const char* name, const ir::Graph& graph) {
    write(folder / name, engine::serialize(lower(graph).value()).value());
  };
  for (const auto& [name, text] : kEngineSeeds)
    save(name, ir::parse(text).value());
  const testing::TinyModel tiny = {.layers = 1,
                                   .hidden = 4,
                                   .heads = 1,
                                   .head_dim = 2,
                                   .ffn = 3,
                                   .vocabulary = 4,
                                   .positions = 5,
                                   .labels = 2};
  save("encoder", testing::make_model(tiny));
  save("encoder_i8", testing::make_int8_model(tiny));
  save("encoder_i4", testing::make_int4_model(tiny));
  save("encoder_bf16", with(testing::make_model(tiny), "narrow-weights"));

  engine::Engine full = lower(ir::parse(kEngineSeeds[0].second).value()).value();
  const Bytes tokenizer = small_tokenizer();
  full.tokenizer = tokenizer;
  full.labels = {"O", "B-x"};
  full.metadata = {{"rtai_version", "0"}, {"task", "token-classification"}};
  write(folder / "full", engine::serialize(full).value());
}

// --- tokenizers

constexpr std::pair<const char*, const char*> kTokenizerSeeds[] = {
    {"word_piece", R"({"added_tokens": [{"id": 2, "content": "[CLS]", "special": true}],
 "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
  "strip_accents": null, "lowercase": true}, "pre_tokenizer": {"type": "BertPreTokenizer"},
 "post_processor": {"type": "TemplateProcessing",
  "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
  "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
  "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}}},
 "decoder": {"type": "WordPiece"}, "model": {"type": "WordPiece", "unk_token": "[UNK]",
  "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
  "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "a": 3, "b": 4, "##b": 5}}})"},
    {"byte_pairs",
     R"({"added_tokens": [{"id": 0, "content": "<s>", "special": true, "lstrip": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"},
  {"type": "Replace", "pattern": {"String": "``"}, "content": "x"}]},
 "pre_tokenizer": {"type": "Sequence", "pre_tokenizers": [{"type": "Whitespace"},
  {"type": "Split", "pattern": {"String": "-"}, "behavior": "Isolated", "invert": false}]},
 "post_processor": {"type": "RobertaProcessing", "sep": ["<s>", 0], "cls": ["<s>", 0],
  "trim_offsets": true, "add_prefix_space": false}, "decoder": null,
 "model": {"type": "BPE", "dropout": null, "unk_token": "u", "fuse_unk": false,
  "byte_fallback": false, "vocab": {"<s>": 0, "u": 1, "a": 2, "b": 3, "ab": 4}, "merges": ["a b"]}})"},
    {"unigram", R"({"added_tokens": [{"id": 0, "content": "<s>", "special": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "NFKC"}, {"type": "StripAccents"}]},
 "pre_tokenizer": {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": true},
 "post_processor": {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A", "type_id": 0}}],
  "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
  "special_tokens": {}}, "decoder": {"type": "Metaspace"},
 "model": {"type": "Unigram", "unk_id": 1, "byte_fallback": false,
  "vocab": [["<s>", 0.0], ["<unk>", 0.0], ["_", -1.5], ["a", -2.0], ["ab", -2.5]]}})"},
};

void write_tokenizers(const fs::path& folder) {
  const std::string zero(1, '\0');
  for (const auto& [name, document] : kTokenizerSeeds) {
    write(folder / name, "j" + std::string(document) + zero + zero + "a B <s> ab-12");
  }
  write(folder / "vocabulary", "v[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\n##b\n" + zero +
                                   R"({"do_lower_case": false, "model_max_length": 8})" + zero +
                                   "ab a [MASK]");
  Bytes stored = {std::byte{'b'}};
  const Bytes tokenizer = small_tokenizer();
  stored.insert(stored.end(), tokenizer.begin(), tokenizer.end());
  write(folder / "stored", stored);
}

// --- documents and texts

void write_documents(const fs::path& folder) {
  const std::string zero(1, '\0');
  write(folder / "config",
        R"(c{"model_type": "bert", "architectures": ["BertForTokenClassification"],
 "problem_type": "multi_label_classification", "id2label": {"0": "O", "1": "B-x"}})");
  write(folder / "modules",
        R"(m[{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
 {"type": "sentence_transformers.models.Normalize", "path": "2_Normalize"}])" +
            zero + R"({"pooling_mode_mean_tokens": true})");
  write(folder / "tokens", R"(t{"tokenizer_class": "BertTokenizer", "do_lower_case": true,
 "added_tokens_decoder": {"4": {"content": "[MASK]", "special": true}}})" +
                               zero + R"({"additional_special_tokens": ["a"]})" + zero +
                               R"({"x": 6})");
  write(folder / "flags", R"(f{"calib": "t.txt", "quiet": true, "fail-if": ["p99_ms>5"], // why
 "batch": 2, "model": "m"})");
}

void write_texts(const fs::path& folder) {
  write(folder / "samples", R"(j{"text": "a b", "label": "x"}
{"tokens": ["a", "b"], "tags": ["O", "O"]}
{"text_a": "a", "text_b": "b", "score": 0.5}
{"input_ids": [1, 2], "attention_mask": [1, 0], "token_type_ids": [0, 1]}
)");
  write(folder / "plain", "ta b\r\n\n  \nb\xc3\xa9\xff\n");
  write(
      folder / "table",
      "c\xef\xbb\xbflabel,text_a,text_b,score\r\nx,\"a, \"\"b\"\"\nb\",b,0.5\r\n\r\n,a,\"\",-1\n");
  write(folder / "tabs", "sid\tsentence\tlabel\n1\ta \"b\t\n2\tb\tx\r\n");
  write(folder / "head",
        "hPOST /v2/models/m/infer HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
}

}  // namespace
}  // namespace rtai

int main(int count, char** words) {
  if (count != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", words[0]);
    return 2;
  }
  const std::filesystem::path folder = words[1];
  rtai::write_onnx(folder / "onnx");
  rtai::write_engines(folder / "engine");
  rtai::write_tokenizers(folder / "tokenizer");
  rtai::write_documents(folder / "documents");
  rtai::write_texts(folder / "texts");
}
