#include "libopt/raise/prove.h"
#include "tests/passes/old_export.h"
#include "tests/passes/pass_test.h"

namespace rtai::passes {

TEST_CASE("the pipeline raises an old export of a whole layer") {
  const ir::Graph graph = run(kRaisePipeline, kOldExport);
  CHECK(ops(graph) ==
        "embedding linear attention linear add layer_norm linear activation linear add first_token "
        "linear activation linear");
  const auto proof = raise::prove(parsed(kOldExport), graph);
  INFO((proof ? "" : proof.error().message()));
  CHECK(proof);
  CHECK(graph.name(graph.outputs()[0]) == "logits");
  CHECK(to_string(graph.type(graph.outputs()[0])) == "f32[sequences, 3]");
}

TEST_CASE("the pipeline leaves a raised graph as it is") {
  const ir::Graph once = run(kRaisePipeline, kOldExport);
  ir::Graph twice = once;
  PassContext context;
  const auto records = run_pipeline(kRaisePipeline, twice, context, &make);
  REQUIRE(records);
  CHECK(ir::print(twice) == ir::print(once));
}

TEST_CASE("the pipeline gives the same bytes each time") {
  CHECK(ir::print(run(kRaisePipeline, kOldExport)) == ir::print(run(kRaisePipeline, kOldExport)));
}

TEST_CASE("raise-transformer does not take a lone addition for a raised graph") {
  ir::Graph graph = parsed(R"(
    graph (%a: f32[b, s, 4], %c: f32[b, s, 4]) {
      %y = add(%a, %c) : f32[b, s, 4]
      return %y
    })");
  PassContext context;
  const auto records = run_pipeline("raise-transformer", graph, context, &make);
  REQUIRE_FALSE(records);
  CHECK(records.error().code() == ErrorCode::unsupported);
}

}  // namespace rtai::passes
