#include "tests/passes/pass_test.h"

namespace rtai::passes {

TEST_CASE("drop-identities removes identity, dropout and casts to the same type") {
  CHECK(ops(run_exact("drop-identities", R"(
    graph (%x: f32[b, 3]) {
      %1 = identity(%x) : f32
      %2 = dropout(%1) : f32
      %3 = cast(%2) {to = "f32"} : f32
      %4 = tanh(%3) : f32
      return %4
    })")) == "tanh");
}

TEST_CASE("drop-identities keeps casts that convert, masks of dropout that are used, outputs") {
  CHECK(ops(run_exact("drop-identities", R"(
    graph (%x: f32[b, 3]) {
      %1 = cast(%x) {to = "i64"} : i64
      %2 = cast(%1) {to = "f32"} : f32
      %3, %4 = dropout(%2) : f32, bool
      %5 = identity(%3) : f32
      return %4, %5
    })")) == "cast cast dropout identity");
}

}  // namespace rtai::passes
