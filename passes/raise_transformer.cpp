// Turns a graph of ONNX operators into one of transformer operators: libopt/raise/raise.h.
#include "libopt/raise/raise.h"
#include "passes/passes.h"

#include <algorithm>

namespace rtai::passes {
namespace {

constexpr PassInfo kInfo = {
    .name = "raise-transformer",
    .summary = "turns ONNX operators into embedding, linear, attention, layer_norm, ...",
    .source = "-",
    .exactness = Exactness::exact,
};

/// `add` is of both levels: alone it does not make a raised graph.
bool is_done(const ir::Graph& graph) {
  return is_raised(graph) &&
         std::any_of(graph.order().begin(), graph.order().end(), [&](ir::NodeId id) {
           return info(graph.node(id).op()).level == ir::Level::transformer;
         });
}

class RaiseTransformer final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& context) override {
    if (is_done(graph)) return PassReport{};
    const auto nodes = static_cast<double>(graph.order().size());
    RTAI_TRY(graph, raise::raise_transformer(graph, *context.log));
    return PassReport{.changed = true,
                      .counters = {{"nodes before", nodes},
                                   {"nodes after", static_cast<double>(graph.order().size())}}};
  }
};

}  // namespace

std::unique_ptr<Pass> make_raise_transformer() {
  return std::make_unique<RaiseTransformer>();
}

}  // namespace rtai::passes
