// Removes operators that return their input: identity, dropout, casts to the type there is.
#include "passes/passes.h"

namespace rtai::passes {
namespace {

using ir::Op;

constexpr PassInfo kInfo = {
    .name = "drop-identities",
    .summary = "removes identity, dropout and casts that change nothing",
    .source = "-",
    .exactness = Exactness::exact,
};

/// A pipeline runs models that answer, not models that learn: dropout keeps everything.
bool returns_input(const ir::Graph& graph, const ir::Node& node) {
  switch (node.op()) {
    case Op::identity:
      return true;
    case Op::dropout:
      return node.outputs().size() == 1 || graph.users(node.output(1)).empty();
    case Op::cast:
    case Op::cast_like:
      return graph.type(node.input(0)).dtype == graph.type(node.output()).dtype;
    default:
      return false;
  }
}

class DropIdentities final : public PassWith<NoOptions> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    Counter dropped{.name = "nodes dropped"};
    const std::vector<ir::NodeId> order(graph.order().begin(), graph.order().end());
    for (const ir::NodeId id : order) {
      const ir::Node& node = graph.node(id);
      if (!returns_input(graph, node)) continue;
      if (is_output(graph, node)) continue;  // an output carries its own name
      graph.replace_uses(node.output(), node.input(0));
      graph.erase(id);
      ++dropped.value;
    }
    if (dropped.value > 0) graph.erase_dead();
    return PassReport{.changed = dropped.value > 0, .counters = {dropped}};
  }

 private:
  static bool is_output(const ir::Graph& graph, const ir::Node& node) {
    for (const ir::ValueId output : graph.outputs()) {
      for (const ir::ValueId made : node.outputs()) {
        if (made == output) return true;
      }
    }
    return false;
  }
};

}  // namespace

std::unique_ptr<Pass> make_drop_identities() {
  return std::make_unique<DropIdentities>();
}

}  // namespace rtai::passes
