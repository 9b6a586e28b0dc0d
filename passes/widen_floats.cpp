// Makes every 16-bit and 64-bit float an f32: libopt/raise/widen.h.
//
//   before: %h = cast(%x) {to = "f16"}  %y = matmul(%h, @w f16)  %z = cast(%y) {to = "f32"}
//   after:  %h = cast(%x) {to = "f32"}  %y = matmul(%h, @w f32)  %z = cast(%y) {to = "f32"}
//
// The casts that are left change nothing and go with drop-identities.
#include "libopt/raise/widen.h"
#include "passes/passes.h"

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "widen-floats",
    .summary = "makes every 16-bit and 64-bit float an f32",
    .source = "-",
    .exactness = Exactness::exact,
};

class WidenFloats final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    const Index changed = raise::widen_floats(graph);
    return PassReport{.changed = changed > 0,
                      .counters = {{"values widened", static_cast<double>(changed)}}};
  }
};

}  // namespace

std::unique_ptr<Pass> make_widen_floats() {
  return std::make_unique<WidenFloats>();
}

}  // namespace rtai::passes
