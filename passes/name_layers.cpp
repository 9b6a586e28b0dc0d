// Names layers and their weights by their place in the model: layer.3.ffn_in.weight.
//
// Exporters give weights names such as onnx::MatMul_259; reports, --keep-float patterns and stored
// engines should not depend on them.
#include "libopt/ir/encoder.h"
#include "passes/passes.h"

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "name-layers",
    .summary = "names layers and weights by their place in the model",
    .source = "-",
    .exactness = Exactness::exact,
};

class NameLayers final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    return PassReport{.changed = ir::name_by_place(graph)};
  }
};

}  // namespace

std::unique_ptr<Pass> make_name_layers() {
  return std::make_unique<NameLayers>();
}

}  // namespace rtai::passes
