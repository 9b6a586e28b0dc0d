#include "tests/passes/pass_test.h"

namespace rtai::passes {

TEST_CASE("fold-constants computes what only constants feed and keeps the names") {
  const ir::Graph graph = run_exact("fold-constants", R"(
    graph (%x: f32[b, 3]) {
      @w: f32[2, 3] = random
      @c: f32 = [3]
      %t = transpose(@w) {perm = [1, 0]} : f32
      %s = mul(%t, @c) : f32
      %y = matmul(%x, %s) : f32
      return %y
    })");
  CHECK(ops(graph) == "matmul");
  CHECK(graph.constants().size() == 1);
  CHECK(graph.name(graph.constants()[0]) == "s");
}

TEST_CASE("fold-constants knows the shape of a value with fixed dimensions") {
  CHECK(ops(run_exact("fold-constants", R"(
    graph (%x: f32[4, 3]) {
      %d = shape(%x) {start = -1} : i64
      %y = expand(%d, %d) : i64
      return %y
    })"))
            .empty());
  CHECK(ops(run_exact("fold-constants", R"(
    graph (%x: f32[b, 3]) {
      %d = shape(%x) {start = 1} : i64
      return %d
    })"))
            .empty());
  CHECK(ops(run_exact("fold-constants", R"(
    graph (%x: f32[b, 3]) {
      %d = shape(%x) : i64
      return %d
    })")) == "shape");
}

TEST_CASE("fold-constants leaves what would grow beyond its budget") {
  constexpr std::string_view kBloater = R"(
    graph (%x: f32[b, 3]) {
      @one: f32 = [1]
      @dims: i64[2] = [1024, 1024]
      %big = expand(@one, @dims) : f32
      return %big
    })";
  CHECK(ops(run("fold-constants{max-mib=1}", kBloater)) == "expand");
  CHECK(ops(run("fold-constants{max-mib=5}", kBloater)).empty());
}

TEST_CASE("fold-constants leaves a node that cannot run to whoever runs it") {
  CHECK(ops(run("fold-constants", R"(
    graph (%x: f32[b, 3]) {
      @a: f32[2] = [1, 2]
      @b: f32[3] = [1, 2, 3]
      %y = add(@a, @b) : f32
      return %y
    })")) == "add");
}

TEST_CASE("fold-constants folds nodes of several outputs") {
  const ir::Graph graph = run_exact("fold-constants", R"(
    graph (%x: f32[b, 2]) {
      @w: f32[4] = [1, 2, 3, 4]
      %a, %b = split(@w) {axis = 0, num_outputs = 2} : f32, f32
      %y = mul(%x, %a) : f32
      %z = mul(%y, %b) : f32
      return %z
    })");
  CHECK(ops(graph) == "mul mul");
}

}  // namespace rtai::passes
