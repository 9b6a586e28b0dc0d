// Malformed ONNX files of every kind: each is refused with its exit code and a message that names
// the place. The program itself reads them.
#include "tests/support/onnx_text.h"
#include "tests/support/temp_folder.h"
#include "tests/support/wire.h"
#include "tests/tools/hostile/malformed.h"

#include <fstream>
#include <functional>

namespace rtai::testing {
namespace {

constexpr int kUnusable = 3;  // exit codes: cli.cpp
constexpr int kUnsupported = 4;

using Model = onnx::ModelProto;
using Change = std::function<void(Model&)>;

using Kind = Malformed<std::string>;

Model good() {
  return onnx_model(17,
                    R"((float[b, 2] x) => (float[b, 2] y) <float[2] w = {1, 2}, int8[2] i = {3, 4}>
    { s = Add(x, w)  t = Softmax <axis = 1> (s)  c = Cast <to = 1> (i)  y = Mul(t, c) })");
}

class Kinds {
 public:
  void bytes(std::string name, std::string content, int exit, std::string message) {
    kinds_.push_back({std::move(name), std::move(content), exit, std::move(message)});
  }
  void text(
      std::string name, const std::string& graph, int exit, std::string message, int version = 17) {
    bytes(std::move(name), onnx_model(version, graph).SerializeAsString(), exit,
          std::move(message));
  }
  void model(std::string name, const Change& change, int exit, std::string message) {
    Model changed = good();
    change(changed);
    bytes(std::move(name), changed.SerializeAsString(), exit, std::move(message));
  }
  void weight(std::string name,
              const std::function<void(onnx::TensorProto&)>& change,
              int exit,
              std::string message) {
    model(
        std::move(name), [&](Model& m) { change(*m.mutable_graph()->mutable_initializer(0)); },
        exit, std::move(message));
  }
  /// The first weight as external data with these keys.
  void external(std::string name,
                const std::vector<std::pair<std::string, std::string>>& keys,
                int exit,
                std::string message) {
    weight(
        std::move(name),
        [&](onnx::TensorProto& w) {
          w.clear_float_data();
          w.set_data_location(onnx::TensorProto::EXTERNAL);
          for (const auto& [key, value] : keys) {
            w.add_external_data()->set_key(key);
            w.mutable_external_data(w.external_data_size() - 1)->set_value(value);
          }
        },
        exit, std::move(message));
  }
  const std::vector<Kind>& all() const { return kinds_; }

 private:
  std::vector<Kind> kinds_;
};

void add_bytes(Kinds& kinds) {
  const std::string whole = good().SerializeAsString();
  const std::string damaged = "not an ONNX model";
  kinds.bytes("empty", "", kUnusable, "it has no graph");
  kinds.bytes("one zero byte", std::string(1, '\0'), kUnusable, damaged);
  kinds.bytes("a text", "this is not a model", kUnusable, damaged);
  kinds.bytes("JSON", "{\"graph\": []}", kUnusable, damaged);
  kinds.bytes("a zip archive", std::string("PK\x03\x04\x14\0\0\0\x08\0", 10), kUnusable, damaged);
  kinds.bytes("an HTML page", "<!DOCTYPE html><html></html>", kUnusable, damaged);
  kinds.bytes("a pointer of Git LFS",
              "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", kUnusable,
              damaged);
  kinds.bytes("cut in the middle", whole.substr(0, whole.size() / 2), kUnusable, "damaged at byte");
  kinds.bytes("without its last byte", whole.substr(0, whole.size() - 1), kUnusable,
              "damaged at byte");
  kinds.bytes("a length beyond the end", wire::tag(7, 2) + wire::varint(1000), kUnusable,
              "damaged at byte");
  kinds.bytes("a length of 4 GiB", wire::tag(7, 2) + wire::varint(0xffffffff), kUnusable,
              "damaged at byte");
  kinds.bytes("a length of 2^63", wire::tag(7, 2) + wire::varint(std::uint64_t{1} << 63), kUnusable,
              damaged);
  kinds.bytes("field 0", wire::tag(0, 2) + wire::varint(0), kUnusable, "damaged at byte");
  kinds.bytes("a group", wire::tag(7, 3) + wire::tag(7, 4), kUnusable, "damaged at byte");
  kinds.bytes("wire type 6", wire::tag(7, 6), kUnusable, "damaged at byte");
  kinds.bytes("a number without an end", wire::tag(1, 0) + std::string(11, '\xff'), kUnusable,
              "damaged at byte");
  kinds.bytes("a message in the place of a number", wire::field(1, "abc"), kUnusable, "");
  std::string deep;
  for (int depth = 0; depth < 10'000; ++depth)
    deep = wire::field(1, wire::field(5, wire::field(6, deep)));
  kinds.bytes("graphs 10,000 deep", wire::field(7, deep), kUnsupported, "messages within messages");
}

void add_structure(Kinds& kinds) {
  using G = onnx::GraphProto;
  const auto graph = [&](std::string name, const std::function<void(G&)>& change, int exit,
                         std::string message) {
    kinds.model(
        std::move(name), [&](Model& m) { change(*m.mutable_graph()); }, exit, std::move(message));
  };
  graph(
      "a choice without outputs",
      [](G& g) {
        onnx::NodeProto& node = *g.add_node();
        node.set_op_type("If");
        node.add_input("x");
        for (const char* branch : {"then_branch", "else_branch"}) {
          node.add_attribute()->set_name(branch);
          node.mutable_attribute(node.attribute_size() - 1)->set_type(onnx::AttributeProto::GRAPH);
          node.mutable_attribute(node.attribute_size() - 1)->mutable_g();
        }
      },
      kUnusable, "has no outputs");
  kinds.model(
      "no graph", [](Model& m) { m.clear_graph(); }, kUnusable, "it has no graph");
  kinds.model(
      "no operator sets", [](Model& m) { m.clear_opset_import(); }, kUnusable,
      "declares no version");
  kinds.model(
      "an operator set twice", [](Model& m) { *m.add_opset_import() = m.opset_import(0); },
      kUnusable, "two versions of operator set ''");
  kinds.model(
      "opset 0", [](Model& m) { m.mutable_opset_import(0)->set_version(0); }, kUnusable, "opset 0");
  kinds.model(
      "opset -1", [](Model& m) { m.mutable_opset_import(0)->set_version(-1); }, kUnusable,
      "opset -1");
  kinds.model(
      "opset 99", [](Model& m) { m.mutable_opset_import(0)->set_version(99); }, kUnsupported,
      "opset 99");
  graph(
      "no outputs", [](G& g) { g.clear_output(); }, kUnusable, "no outputs");
  graph(
      "an output that nothing makes", [](G& g) { g.mutable_output(0)->set_name("q"); }, kUnusable,
      "output 'q' is made by nothing");
  graph(
      "an output twice", [](G& g) { *g.add_output() = g.output(0); }, kUnusable,
      "output 'y' stands twice");
  graph(
      "an input without a name", [](G& g) { g.mutable_input(0)->clear_name(); }, kUnusable,
      "an input without a name");
  graph(
      "an input twice", [](G& g) { *g.add_input() = g.input(0); }, kUnusable,
      "input 'x' stands twice");
  graph(
      "an input without a type", [](G& g) { g.mutable_input(0)->clear_type(); }, kUnsupported,
      "input 'x'");
  graph(
      "an input that is a sequence",
      [](G& g) { g.mutable_input(0)->mutable_type()->mutable_sequence_type(); }, kUnsupported,
      "input 'x'");
  const auto element = [&](std::string name, int type, int exit, std::string message) {
    graph(
        std::move(name),
        [&](G& g) {
          g.mutable_input(0)->mutable_type()->mutable_tensor_type()->set_elem_type(type);
        },
        exit, std::move(message));
  };
  element("an input of element type 0", 0, kUnusable, "input 'x': element type 0");
  element("an input of element type 99", 99, kUnusable, "input 'x': element type 99");
  element("an input of element type -1", -1, kUnusable, "input 'x': element type -1");
  element("an input of texts", 8, kUnsupported, "input 'x': element type STRING");
  graph(
      "a sparse weight", [](G& g) { g.add_sparse_initializer()->mutable_values()->set_name("sp"); },
      kUnsupported, "sparse initializer 'sp'");
  graph(
      "a weight without a name", [](G& g) { g.mutable_initializer(0)->clear_name(); }, kUnusable,
      "an initializer without a name");
  graph(
      "a weight twice", [](G& g) { *g.add_initializer() = g.initializer(0); }, kUnusable,
      "initializer 'w' stands twice");
  kinds.text("a value that nothing makes", "(float[1] x) => (float y) { y = Add(x, z) }", kUnusable,
             "node 'y' (Add) reads 'z', which nothing makes");
  kinds.text("a node that reads itself", "(float[1] x) => (float y) { y = Add(x, y) }", kUnusable,
             "node 'y' (Add) depends on its own result");
  kinds.text("a circle of two nodes", "(float[1] x) => (float y) { a = Add(x, y)  y = Neg(a) }",
             kUnusable, "depends on its own result");
  kinds.text("a value made twice", "(float[1] x) => (float y) { y = Neg(x)  y = Abs(x) }",
             kUnusable, "makes 'y', which is there already");
  kinds.text("a node that makes an input", "(float[1] x) => (float y) { x = Neg(x)  y = Abs(x) }",
             kUnusable, "makes 'x', which is there already");
  kinds.text("a node that makes a weight",
             "(float[1] x) => (float y) <float w = {1}> { w = Neg(x)  y = Abs(w) }", kUnusable,
             "makes 'w', which is there already");
  graph(
      "a node without outputs", [](G& g) { g.mutable_node(3)->clear_output(); }, kUnusable, "");
  graph(
      "a node whose outputs have no names",
      [](G& g) {
        g.add_node()->add_output("");
        g.mutable_node(4)->set_op_type("Neg");
        g.mutable_node(4)->add_input("x");
      },
      kUnusable, "(Neg): has no outputs");
  graph(
      "a node without an operator", [](G& g) { g.mutable_node(0)->clear_op_type(); }, kUnsupported,
      "operator ''");
  kinds.text("an operator that rtai lacks", "(float[1] x) => (float y) { y = Conv(x, x) }",
             kUnsupported, "operator 'Conv'");
  graph(
      "an operator of an unknown domain",
      [](G& g) { g.mutable_node(0)->set_domain("com.example"); }, kUnsupported,
      "'com.example.Add'");
  graph(
      "a contrib operator that rtai lacks",
      [](G& g) {
        g.mutable_node(0)->set_domain("com.microsoft"), g.mutable_node(0)->set_op_type("Nope");
      },
      kUnsupported, "'com.microsoft.Nope'");
  graph(
      "a loop", [](G& g) { g.mutable_node(0)->set_op_type("Loop"); }, kUnsupported, "'Loop'");
}

void add_nodes(Kinds& kinds) {
  const auto node = [&](std::string name, const std::string& text, int exit, std::string message,
                        int version = 17) {
    kinds.text(std::move(name), "(float[1, 2] x, bool[1] b) => (float y) {" + text + "}", exit,
               std::move(message), version);
  };
  node("an input too few", "y = Add(x)", kUnusable, "node 'y' (Add): input 1 is missing");
  node("no inputs", "y = Neg()", kUnusable, "node 'y' (Neg): input 0 is missing");
  node("an input too many", "y = Neg(x, x)", kUnusable,
       "node 'y' (Neg): takes 1 inputs at most, has 2");
  node("an output too many", "y, z = Neg(x)", kUnusable,
       "node 'y' (Neg): makes 1 outputs at most, has 2");
  node("an input left out in the middle", "y = Where(b, , x)", kUnusable,
       "(Where): input 1 is missing");
  node("Cast without inputs", "y = Cast <to = 1> ()", kUnusable, "node 'y' (Cast)");
  node("an attribute twice", "y = Concat <axis = 0, axis = 1> (x, x)", kUnusable,
       "'axis' stands twice");
  node("an attribute of another type", "y = Concat <axis = 1.0> (x, x)", kUnusable,
       "attribute 'axis' is of type FLOAT, expected INT");
  node("a list for a number", "y = Concat <axis = [1]> (x, x)", kUnusable,
       "attribute 'axis' is of type INTS, expected INT");
  node("a text for a number", "y = Gemm <alpha = \"1\"> (x, x)", kUnusable,
       "attribute 'alpha' is of type STRING, expected FLOAT");
  node("an attribute that rtai lacks", "y = Add <broadcast = 1> (x, x)", kUnsupported,
       "attribute 'broadcast' of version 17", 17);
  node("an attribute left out", "y = Cast (x)", kUnusable,
       "node 'y' (Cast): attribute 'to' is missing");
  node("a flag of 2", "y = Gemm <transA = 2> (x, x)", kUnusable,
       "attribute 'transA' is 2, expected 0 or 1");
  node("a cast to type 99", "y = Cast <to = 99> (x)", kUnusable, "element type 99");
  node("a cast to type 0", "y = Cast <to = 0> (x)", kUnusable, "element type 0");
  node("a cast to texts", "y = Cast <to = 8> (x)", kUnsupported, "element type STRING");
  node("a constant of nothing", "y = Constant ()", kUnusable, "node 'y' (Constant)");
  node("a constant of texts", "y = Constant <value_strings = [\"a\"]> ()", kUnsupported,
       "node 'y' (Constant)");
  node("axes as attribute and as input",
       "a = Constant <value_ints = [0]> ()  y = Squeeze <axes = [0]> (x, a)", kUnusable,
       "node 'y' (Squeeze): 'axes' as an attribute and as an input");
  node("a limit as attribute and as input",
       "m = Constant <value_float = 1.0> ()  y = Clip <min = 0.0> (x, m)", kUnusable,
       "node 'y' (Clip): a limit as an attribute and as an input");
  node("a filling as attribute and as input",
       "p = Constant <value_ints = [0, 0, 0, 1]> ()  m = Constant <value_float = 1.0> ()  "
       "y = Pad <value = 2.0> (x, p, m)",
       kUnusable, "node 'y' (Pad): 'value' as an attribute and as an input");
  node("another number of outputs than announced", "y, z = Split <axis = 1, num_outputs = 3> (x)",
       kUnusable, "num_outputs is 3, the node has 2", 18);
  node("attention of no heads",
       "u = Unsqueeze <axes = [0]> (x)  y = com.microsoft.MultiHeadAttention <num_heads = 0> (u, "
       "u, u)",
       kUnusable, "'num_heads' is 0", 11);
  node("attention of -1 heads",
       "u = Unsqueeze <axes = [0]> (x)  y = com.microsoft.MultiHeadAttention <num_heads = -1> (u, "
       "u, u)",
       kUnusable, "'num_heads' is -1", 11);
  kinds.text("attention of no heads in opset 23",
             "(float[1,2,4] q) => (float y) { y = Attention (q, q, q) }", kUnusable,
             "'q_num_heads'", 23);
  node("dropout's second answer from nothing", "y, m = Dropout()", kUnusable, "node 'y' (Dropout)");
}

void add_weights(Kinds& kinds) {
  using T = onnx::TensorProto;
  const auto weight = [&](std::string name, const std::function<void(T&)>& change, int exit,
                          std::string message) {
    kinds.weight(std::move(name), change, exit, std::move(message));
  };
  const auto shaped = [&](std::string name, const std::vector<Index>& dims, std::string message) {
    kinds.weight(
        std::move(name),
        [&](T& w) {
          w.clear_dims();
          for (const Index dim : dims)
            w.add_dims(dim);
        },
        kUnusable, "initializer 'w': " + std::move(message));
  };
  constexpr Index kHuge = Index{1} << 40;
  weight(
      "no data", [](T& w) { w.clear_float_data(); }, kUnusable,
      "initializer 'w': no data for f32[2]");
  weight(
      "raw data a byte short",
      [](T& w) { w.clear_float_data(), w.set_raw_data(std::string(7, 'a')); }, kUnusable,
      "initializer 'w': raw_data holds 7 bytes, f32[2] needs 8");
  weight(
      "raw data a byte long",
      [](T& w) { w.clear_float_data(), w.set_raw_data(std::string(9, 'a')); }, kUnusable,
      "raw_data holds 9 bytes");
  const auto narrow = [&](std::string name, int type, std::size_t bytes, std::string message) {
    weight(
        std::move(name),
        [=](T& w) {
          w.clear_float_data(), w.set_data_type(type), w.set_raw_data(std::string(bytes, 'a'));
        },
        kUnusable, std::move(message));
  };
  narrow("a byte for each number of 4 bits", 22, 2, "raw_data holds 2 bytes, i4[2] needs 1");
  narrow("no byte for numbers of 2 bits", 25, 0, "no data for u2[2]");
  narrow("a float of 8 bits short", 17, 1, "raw_data holds 1 bytes, f8e4m3fn[2] needs 2");
  weight(
      "a number that no byte of two numbers is",
      [](T& w) { w.clear_float_data(), w.set_data_type(21), w.add_int32_data(256); }, kUnusable,
      "element 0 is 256, outside of u8");
  weight(
      "an element too many", [](T& w) { w.add_float_data(1); }, kUnusable,
      "float_data holds 3 elements, the dimensions say 2");
  weight(
      "data in the field of another type",
      [](T& w) { w.clear_float_data(), w.add_int32_data(1), w.add_int32_data(1); }, kUnusable,
      "float_data holds 0 elements");
  weight(
      "data in two fields", [](T& w) { w.set_raw_data("12345678"); }, kUnusable,
      "data in 2 fields, raw_data and float_data");
  weight(
      "data in three fields", [](T& w) { w.set_raw_data("12345678"), w.add_int64_data(1); },
      kUnusable, "data in 3 fields");
  shaped("a negative dimension", {-1}, "");
  shaped("dimensions whose product overflows", {kHuge, kHuge}, "impossible dimensions");
  shaped("a dimension whose bytes overflow", {Index{1} << 61}, "impossible dimensions");
  shaped("a zero that hides an overflow", {0, kHuge, kHuge}, "impossible dimensions");
  shaped("a dimension of 2^40", {kHuge},
         "float_data holds 2 elements, the dimensions say 1099511627776");
  shaped("rank 9", std::vector<Index>(9, 1), "rank 9 is above 8");
  shaped("rank 10,000", std::vector<Index>(10'000, 1), "rank 10000 is above 8");
  shaped("a dimension of 0 with data", {0}, "");
  const auto typed = [&](std::string name, int type, int exit, std::string message) {
    weight(
        std::move(name), [&](T& w) { w.set_data_type(type); }, exit,
        "initializer 'w': " + std::move(message));
  };
  typed("element type 0", 0, kUnusable, "element type 0 is not one of ONNX");
  typed("element type 77", 77, kUnusable, "element type 77 is not one of ONNX");
  typed("element type -5", -5, kUnusable, "element type -5 is not one of ONNX");
  typed("texts", T::STRING, kUnsupported, "element type STRING");
  typed("complex numbers", T::COMPLEX64, kUnsupported, "element type COMPLEX64");
  typed("4-bit integers", 22, kUnusable, "int32_data holds 0 elements, the dimensions say 1");
  const auto second = [&](std::string name, const std::function<void(T&)>& change,
                          std::string message) {
    kinds.model(
        std::move(name), [&](Model& m) { change(*m.mutable_graph()->mutable_initializer(1)); },
        kUnusable, "initializer 'i': " + std::move(message));
  };
  second(
      "an element outside of int8", [](T& i) { i.set_int32_data(0, 128); },
      "element 0 is 128, outside of i8");
  second(
      "an element outside of uint8",
      [](T& i) { i.set_data_type(T::UINT8), i.set_int32_data(1, -1); },
      "element 1 is -1, outside of u8");
  second(
      "a bool of 2", [](T& i) { i.set_data_type(T::BOOL), i.set_int32_data(0, 2); },
      "element 0 is 2, outside of bool");
  second(
      "a raw bool of 2",
      [](T& i) { i.set_data_type(T::BOOL), i.clear_int32_data(), i.set_raw_data("\x02\x01"); },
      "a bool that is neither 0 nor 1");
  second(
      "an element outside of uint32",
      [](T& i) {
        i.set_data_type(T::UINT32), i.clear_int32_data(), i.add_uint64_data(std::uint64_t{1} << 32),
            i.add_uint64_data(0);
      },
      "element 0 is 4294967296, outside of u32");
  weight(
      "a weight in segments", [](T& w) { w.mutable_segment()->set_begin(0); }, kUnsupported,
      "initializer 'w': a tensor in segments");
}

void add_external(Kinds& kinds) {
  const auto keys = [&](std::string name,
                        const std::vector<std::pair<std::string, std::string>>& pairs,
                        std::string message) {
    kinds.external(std::move(name), pairs, kUnusable, std::move(message));
  };
  const std::pair<std::string, std::string> here = {"location", "weights"};
  keys("no location", {}, "external data without a location");
  keys("an unknown key", {here, {"__class__", "x"}}, "external data: key '__class__'");
  keys("a key twice", {here, here}, "external data: key 'location'");
  keys("a negative offset", {here, {"offset", "-1"}}, "external data: offset is '-1'");
  keys("an offset in hexadecimal", {here, {"offset", "0x10"}}, "external data: offset is '0x10'");
  keys("an offset above 2^63", {here, {"offset", "9223372036854775808"}},
       "external data: offset is");
  keys("an empty length", {here, {"length", ""}}, "external data: length is ''");
  keys("a negative length", {here, {"length", "-8"}}, "external data: length is '-8'");
  keys("a length of 2^50", {here, {"length", "1125899906842624"}},
       "length is 1125899906842624 bytes, f32[2] needs 8");
  keys("an offset beyond the end", {here, {"offset", "9"}},
       "8 bytes from 9 on are wanted, the file has 16");
  keys("an offset of 2^62", {here, {"offset", "4611686018427387904"}}, "the file has 16");
  keys("a file that is not there", {{"location", "nothing"}}, "external data 'nothing'");
  keys("a path upwards", {{"location", "../weights"}}, "leads out of the model's folder");
  keys("a path of the system", {{"location", "/etc/passwd"}}, "is an absolute path");
  kinds.weight(
      "external and own data",
      [](onnx::TensorProto& w) { w.set_data_location(onnx::TensorProto::EXTERNAL); }, kUnusable,
      "data in 2 fields, float_data and external data");
}

TEST_CASE("malformed ONNX files are refused by name") {
  Kinds kinds;
  add_bytes(kinds);
  add_structure(kinds);
  add_nodes(kinds);
  add_weights(kinds);
  add_external(kinds);
  CHECK(kinds.all().size() >= 80);
  const TempFolder folder;
  std::ofstream(folder / "weights") << std::string(16, 'w');
  const std::string path = (folder / "model.onnx").string();
  check_refused(kinds.all(), "inspect", path);
}

}  // namespace
}  // namespace rtai::testing
