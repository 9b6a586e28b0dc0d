// Computes what does not depend on the inputs.
//
//   before: %t = transpose(@w)  %y = matmul(%x, %t)
//   after:                      %y = matmul(%x, @t)
//
// The shape of a value whose dimensions are all fixed is such a constant, too.
#include "libopt/reference/interpret.h"
#include "passes/passes.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::passes {
namespace {

using ir::Op;
using ir::ValueId;

constexpr PassInfo kInfo = {
    .name = "fold-constants",
    .summary = "computes what does not depend on the inputs",
    .source = "-",
    .exactness = Exactness::exact,
};

struct Options {
  std::int64_t max_mib = 256;

  static constexpr auto fields() {
    return std::tuple{option("max-mib", &Options::max_mib, Range{0, 1e6},
                             "MiB that new constants may take beyond four times those there are")};
  }
};

bool is_constant_node(const ir::Graph& graph, const ir::Node& node) {
  return std::all_of(node.inputs().begin(), node.inputs().end(),
                     [&](ValueId id) { return id == ir::kNoValue || graph.is_constant(id); });
}

/// The dimensions of a value if all are fixed: what `shape` of it gives.
std::optional<ir::Tensor> known_shape(const ir::Graph& graph, const ir::Node& node) {
  const ir::Type& type = graph.type(node.input(0));
  if (node.op() != Op::shape || !type.dims) return std::nullopt;
  const auto rank = std::ssize(*type.dims);
  const auto clamp = [rank](Index i) { return std::clamp<Index>(i < 0 ? i + rank : i, 0, rank); };
  const Index begin = clamp(node.attributes().integer("start", 0));
  const Index end = std::max(begin, clamp(node.attributes().integer("end", rank)));
  std::vector<std::int64_t> sizes;
  for (Index i = begin; i < end; ++i) {
    const ir::Dim& dim = (*type.dims)[static_cast<std::size_t>(i)];
    if (!dim.is_fixed()) return std::nullopt;
    sizes.push_back(dim.size);
  }
  const auto count = std::ssize(sizes);
  return ir::Tensor::from<std::int64_t>({count}, sizes);
}

class FoldConstants final : public PassWith<Options> {
 public:
  const PassInfo& info() const override { return kInfo; }

  Result<PassReport> run(ir::Graph& graph, PassContext& /*context*/) override {
    Index budget_bytes = 4 * footprint(graph).bytes + (Index{chosen().max_mib} << 20);
    Counter folded{.name = "nodes folded"};
    const std::vector<ir::NodeId> order(graph.order().begin(), graph.order().end());
    for (const ir::NodeId id : order) {
      const std::vector<ir::Tensor> results = results_of(graph, graph.node(id), budget_bytes);
      if (results.empty()) continue;
      for (const ir::Tensor& result : results)
        budget_bytes -= std::ssize(result.bytes());
      replace(graph, id, results);
      ++folded.value;
    }
    const bool any_dead = graph.erase_dead();
    return PassReport{.changed = folded.value > 0 || any_dead, .counters = {folded}};
  }

 private:
  /// Nothing if the node is not constant, too large or cannot run; whoever runs it will say why.
  static std::vector<ir::Tensor> results_of(const ir::Graph& graph,
                                            const ir::Node& node,
                                            Index budget_bytes) {
    if (const auto shape = known_shape(graph, node)) return {*shape};
    if (info_of(node).level == ir::Level::transformer || !is_constant_node(graph, node)) return {};
    std::vector<const ir::Tensor*> inputs;
    for (const ValueId input : node.inputs())
      inputs.push_back(graph.constant(input));
    constexpr Index kMostWork = Index{1} << 34;
    auto results = reference::try_evaluate(
        node, inputs, {.memory_limit_bytes = budget_bytes, .work_limit = kMostWork});
    if (!results || results->size() < node.outputs().size()) return {};
    results->resize(node.outputs().size());
    return *std::move(results);
  }

  static const ir::OpInfo& info_of(const ir::Node& node) { return ir::info(node.op()); }

  static void replace(ir::Graph& graph, ir::NodeId id, const std::vector<ir::Tensor>& results) {
    std::vector<std::pair<ValueId, std::string>> names;
    for (std::size_t i = 0; i < results.size(); ++i) {
      const ValueId output = graph.node(id).output(i);
      const std::string name = graph.name(output);
      const ValueId constant = graph.add_constant(name, results[i]);
      graph.replace_uses(output, constant);
      names.emplace_back(constant, name);
    }
    graph.erase(id);
    for (const auto& [constant, name] : names)
      graph.rename(constant, name);
  }
};

}  // namespace

std::unique_ptr<Pass> make_fold_constants() {
  return std::make_unique<FoldConstants>();
}

}  // namespace rtai::passes
