#include "libopt/onnx/import.h"
#include "tests/support/onnx_text.h"
#include "tests/support/wire.h"

#include <catch2/catch.hpp>
#include <sys/resource.h>

namespace rtai::onnx_io {
namespace {

using testing::wire::field;
using testing::wire::repeated;
using testing::wire::varint;

std::string model_with(const std::string& graph) {
  return varint(1 << 3) + varint(8) + field(8, field(1, "") + varint(2 << 3) + varint(17)) +
         field(7, graph);
}

Error error_of(const std::string& bytes, const ImportOptions& options = {}) {
  const auto graph = import_onnx(std::as_bytes(std::span(bytes)), options);
  REQUIRE_FALSE(graph);
  return graph.error();
}

Index peak_bytes() {
  struct rusage usage {};
  ::getrusage(RUSAGE_SELF, &usage);
  return Index{usage.ru_maxrss} * 1024;
}

constexpr int kNode = 1;
constexpr int kInitializer = 5;

TEST_CASE("small files that ask for much memory are refused before it is taken") {
  const std::string node = field(kNode, "");
  const std::vector<std::pair<std::string, std::string>> bombs = {
      {"nodes", model_with(repeated(node, 5'000'000))},
      {"tensors", model_with(repeated(field(kInitializer, ""), 5'000'000))},
      {"inputs and outputs of nodes", model_with(field(kNode, repeated(field(1, ""), 5'000'000)))},
      {"attributes of one node", model_with(field(kNode, repeated(field(5, ""), 1000)))},
      {"memory", model_with(repeated(field(11, ""), 5'000'000))},  // inputs
      {"memory", model_with(repeated(field(15, ""), 5'000'000))},  // sparse
      {"memory", repeated(field(25, ""), 5'000'000)},              // functions
      {"memory", repeated(field(20, field(1, "")), 2'000'000)},    // training
      {"nodes", field(20, field(1, repeated(node, 5'000'000)))},
      {"nodes", field(25, repeated(field(7, ""), 5'000'000))},
      {"memory", model_with(field(kInitializer, repeated(field(13, ""), 5'000'000)))},  // external
      {"memory",
       model_with(field(11, field(2, field(1, field(2, repeated(field(1, ""), 5'000'000))))))},
  };
  const Index before = peak_bytes();
  for (const auto& [what, bytes] : bombs) {
    const Error error = error_of(bytes);
    INFO(what << ": " << error.message());
    CHECK(error.code() == ErrorCode::unsupported);
    CHECK(error.message().find(what) != std::string::npos);
  }
  CHECK(peak_bytes() - before < Index{16} << 20);
}

TEST_CASE("every limit lets through what it allows and nothing more") {
  const onnx::ModelProto model = onnx_model(17, R"((float[1] x) => (float[1] y)
    <float[1] v = {1}, float[1] w = {1}> { a = Add(x, v)  y = Gemm <transA = 0, transB = 0> (a, w) })");
  const std::vector<std::byte> bytes = onnx_bytes(model);
  const auto passes = [&](auto set) {
    ImportOptions options;
    set(options.limits);
    const auto graph = import_onnx(bytes, options);
    if (!graph) CHECK(graph.error().code() == ErrorCode::unsupported);
    return graph.has_value();
  };
  using Limits = ImportLimits;
  CHECK(passes([](Limits& l) { l.nodes = 2; }));
  CHECK_FALSE(passes([](Limits& l) { l.nodes = 1; }));
  CHECK(passes([](Limits& l) { l.tensors = 2; }));
  CHECK_FALSE(passes([](Limits& l) { l.tensors = 1; }));
  CHECK(passes([](Limits& l) { l.names = 6; }));
  CHECK_FALSE(passes([](Limits& l) { l.names = 5; }));
  CHECK(passes([](Limits& l) { l.attributes_per_node = 2; }));
  CHECK_FALSE(passes([](Limits& l) { l.attributes_per_node = 1; }));
  CHECK(passes([](Limits& l) { l.longest_text = 13; }));  // "com.microsoft"
  CHECK_FALSE(passes([](Limits& l) { l.longest_text = 12; }));
  CHECK(passes([](Limits& l) { l.depth = 7; }));  // down to a dimension of a shape
  CHECK_FALSE(passes([](Limits& l) { l.depth = 6; }));
  CHECK_FALSE(passes([](Limits& l) { l.text_bytes = 20; }));
  CHECK_FALSE(passes([](Limits& l) { l.heap_factor = 0, l.heap_bytes = 100; }));
}

TEST_CASE("graphs within graphs without end are refused") {
  std::string graph;
  for (int depth = 0; depth < 10'000; ++depth)
    graph = field(kNode, field(5, field(6, graph)));
  CHECK(error_of(model_with(graph)).message().find("messages within messages") !=
        std::string::npos);
}

TEST_CASE("a damaged file is refused at any cut and any changed byte") {
  const onnx::ModelProto model = onnx_model(17, R"((float[2] x) => (float[2] y)
    <float[2] w = {1, 2}> { c = Constant <value = float[2] {10, 20}> ()
      s = Add(x, w)  t = Softmax <axis = 0> (s)  y = Add(t, c) })");
  const std::vector<std::byte> bytes = onnx_bytes(model);
  REQUIRE(import_onnx(bytes));
  for (std::size_t size = 0; size < bytes.size(); ++size) {
    const auto cut = import_onnx(std::span(bytes).first(size));
    if (!cut) CHECK(cut.error().code() != ErrorCode::internal);
  }
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::vector<std::byte> changed = bytes;
      changed[i] ^= static_cast<std::byte>(1 << bit);
      const auto graph = import_onnx(changed);  // a name or a weight may change: then it is a model
      if (!graph) CHECK(graph.error().code() != ErrorCode::internal);
    }
  }
}

TEST_CASE("lengths beyond the end, groups and field 0 are damage") {
  const std::string huge = varint(7 << 3 | 2) + varint(0xffffffff);
  CHECK(error_of(huge).message() == "not an ONNX model: damaged at byte 6");
  CHECK(error_of(varint(7 << 3 | 2) + varint(5) + "abc").code() == ErrorCode::invalid_input);
  CHECK(error_of(varint(7 << 3 | 3) + varint(7 << 3 | 4)).code() == ErrorCode::invalid_input);
  CHECK(error_of(std::string(8, '\0')).code() == ErrorCode::invalid_input);
  CHECK(error_of(std::string(20, '\xff')).code() == ErrorCode::invalid_input);
}

TEST_CASE("fields of a later version of the format are skipped") {
  std::string bytes =
      onnx_model(17, "(float[1] x) => (float[1] y) { y = Neg(x) }").SerializeAsString();
  bytes += field(9999, "later") + varint(9998 << 3) + varint(7);
  CHECK(import_onnx(std::as_bytes(std::span(bytes))));
}

}  // namespace
}  // namespace rtai::onnx_io
