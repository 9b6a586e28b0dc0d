// What `rtai optimize` does, with a table in place of measured times: the same engine every time.
#include "libopt/ir/encoder.h"
#include "libopt/lower/lower.h"
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"
#include "runtime/base/digest.h"
#include "tests/support/models.h"
#include "tests/support/runtime_evaluator.h"
#include "tests/support/texts.h"

#include <catch2/catch.hpp>

#include <string>

namespace rtai {
namespace {

Sha256Digest optimized(const std::string& prune_options) {
  ir::Graph graph = testing::make_model({.layers = 3});
  ir::name_by_place(graph);
  testing::RuntimeEvaluator evaluator;
  const TokenBatch texts = testing::random_texts(40, 101);
  PassContext context{.calibration = &texts, .evaluator = &evaluator};
  const auto records = run_pipeline("prune-obs{" + prune_options + "},quantize-int8{mode=auto}",
                                    graph, context, passes::make);
  INFO((records ? "" : records.error().message()));
  REQUIRE(records);
  CHECK((*records)[0].report.changed);
  CHECK((*records)[1].report.changed);
  const auto bytes = engine::serialize(lower(graph).value());
  REQUIRE(bytes);
  return sha256(*bytes);
}

TEST_CASE("optimizing with a table of times gives the same engine, on any number of threads") {
  const Sha256Digest once = optimized("speedup=1.5,threads=1");
  CHECK(optimized("speedup=1.5,threads=1") == once);
  CHECK(optimized("speedup=1.5,threads=3") == once);
  CHECK(optimized("speedup=1.3,threads=1") != once);
}

}  // namespace
}  // namespace rtai
