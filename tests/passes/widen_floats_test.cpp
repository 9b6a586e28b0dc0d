#include "tests/passes/pass_test.h"

namespace rtai::passes {

TEST_CASE("widen-floats turns an island of 16-bit floats into f32") {
  const ir::Graph graph = run("widen-floats,drop-identities", R"(
    graph (%x: f32[b, 3]) {
      @w: f16[3, 2] = [1, 2, 3, 4, 5, 0.333251953125]
      %1 = cast(%x) {to = "f16"} : f16
      %2 = matmul(%1, @w) : f16
      %3 = cast(%2) {to = "f32"} : f32
      %4 = tanh(%3) : f32
      return %4
    })");
  CHECK(ops(graph) == "matmul tanh");
  const ir::Tensor& w = *graph.constant(graph.constants()[0]);
  CHECK(w.dtype() == DType::f32);
  CHECK(w.value(5) == 0.333251953125);
  CHECK(graph.type(graph.node(graph.order()[0]).output()).dtype == DType::f32);
}

TEST_CASE("widen-floats widens doubles, bfloat16, inputs and outputs") {
  const ir::Graph graph = run("widen-floats", R"(
    graph (%x: bf16[b, 2]) {
      @a: f64[2] = [0.5, 1e10]
      @b: bf16[2] = [1.5, -2]
      %1 = add(%x, @b) : bf16
      %2 = cast(%1) {to = "f64"} : f64
      %3 = mul(%2, @a) : f64
      return %3
    })");
  CHECK(to_string(graph.type(graph.inputs()[0])) == "f32[b, 2]");
  CHECK(graph.type(graph.outputs()[0]).dtype == DType::f32);
  const auto results = reference::interpret(graph, some_inputs(graph));
  REQUIRE(results);
  CHECK((*results)[0].dtype() == DType::f32);
}

TEST_CASE("widen-floats leaves f32 and integers alone") {
  run("widen-floats", R"(
    graph (%x: i64[b, 2]) {
      @a: f32[2] = [0.5, 3]
      %1 = cast(%x) {to = "f32"} : f32
      %2 = mul(%1, @a) : f32
      return %2
    })");
}

}  // namespace rtai::passes
