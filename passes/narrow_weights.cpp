// Stores the weights of linear layers in 16 bits.
//
//   before: linear(%x, @weight f32[n, k])
//   after:  linear(%x, @weight bf16[n, k])
//
// They are widened again when they are loaded; what is computed stays f32. An engine is half as
// large, and reading it takes half as long where that is what takes the time: few rows, large
// matrices.
#include "libopt/ir/ops.h"
#include "passes/passes.h"

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "narrow-weights",
    .summary = "stores the weights of linear layers as bf16; they are widened when they are read",
    .source = "-",
    .exactness = Exactness::approximate,
};

class NarrowWeights final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    Counter narrowed{.name = "linear layers in bf16"};
    for (const ir::NodeId id : graph.nodes_of(ir::Op::linear)) {
      const ir::ValueId weight = graph.node(id).input(ir::Linear::weight);
      const ir::Tensor* values = graph.constant(weight);
      if (values == nullptr || values->dtype() != DType::f32) continue;
      graph.set_constant(weight, values->converted(DType::bf16));
      ++narrowed.value;
    }
    return PassReport{.changed = narrowed.value > 0, .counters = {narrowed}};
  }
};

}  // namespace

std::unique_ptr<Pass> make_narrow_weights() {
  return std::make_unique<NarrowWeights>();
}

}  // namespace rtai::passes
