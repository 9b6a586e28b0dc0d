#include "tests/passes/pass_test.h"

namespace rtai::passes {

TEST_CASE("trace-types gives every value its type") {
  const ir::Graph graph = run("trace-types", R"(
    graph (%ids: i64[b, s], %mask: i64[b, s]) {
      @words: f32[50, 6] = random
      @w: f32[6, 8] = random
      @heads: i64[4] = [0, 0, 2, 4]
      @folded: i64[2] = [-1, 8]
      @axes: i64[2] = [1, 2]
      %e = gather(@words, %ids) : f32
      %q = matmul(%e, @w) : f32
      %h = reshape(%q, @heads) : f32
      %t = transpose(%h) {perm = [0, 2, 3, 1]} : f32
      %f = reshape(%q, @folded) : f32
      %n = size(%mask) : i64
      %m = unsqueeze(%mask, @axes) : i64
      return %t, %f, %n, %m
    })");
  const auto type = [&](std::string_view name) {
    return to_string(graph.type(graph.find_value(name).value()));
  };
  CHECK(type("e") == "f32[batch, seq, 6]");
  CHECK(type("t") == "f32[batch, 2, 4, seq]");
  CHECK(type("f") == "f32[batch.seq, 8]");
  CHECK(type("n") == "i64[]");
  CHECK(type("m") == "i64[batch, 1, 1, seq]");
}

TEST_CASE("trace-types names the node that cannot run") {
  ir::Graph graph = parsed(R"(
    graph (%ids: i64[b, s]) {
      @words: f32[50, 6] = random
      @w: f32[5, 8] = random
      %e = gather(@words, %ids) : f32
      %q = matmul(%e, @w) : f32
      return %q
    })");
  PassContext context;
  const auto records = run_pipeline("trace-types", graph, context, &make);
  REQUIRE_FALSE(records);
  CHECK(records.error().message() ==
        "trace-types: on a batch of [2, 5]: node 'q' (MatMul): f32[2, 5, 6] and f32[5, 8] do not "
        "multiply");
}

}  // namespace rtai::passes
