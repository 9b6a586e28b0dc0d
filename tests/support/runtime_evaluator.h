// An evaluator for tests: values come from the runtime, times from a formula.
#pragma once

#include "libopt/ir/ops.h"
#include "libopt/lower/lower.h"
#include "libopt/pass/evaluator.h"
#include "runtime/exec/session.h"

#include <memory>
#include <vector>

namespace rtai::testing {

class RuntimeEvaluator final : public Evaluator {
 public:
  Result<std::vector<ir::Tensor>> run(const ir::Graph& graph,
                                      std::span<const ir::Tensor> inputs,
                                      std::span<const Index> offsets,
                                      std::span<const ir::ValueId> wanted) override {
    ++runs;
    ir::Graph tapped = graph;
    tapped.set_outputs({wanted.begin(), wanted.end()});
    RTAI_TRY(engine::Engine lowered, lower(tapped));
    const auto engine = std::make_shared<const engine::Engine>(std::move(lowered));
    const std::vector<std::int32_t> narrow(offsets.begin(), offsets.end());
    RTAI_TRY(Session session, Session::create(engine, {.threads = 1}));
    Batch batch{.ids = {}, .segments = {}, .offsets = narrow};
    for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
      if (inputs[i].dtype() == DType::f32)
        batch.hidden = inputs[i].data<float>();
      else if (batch.ids.empty())
        batch.ids = inputs[i].data<std::int32_t>();
      else
        batch.segments = inputs[i].data<std::int32_t>();
    }
    RTAI_TRY_VOID(session.run(batch));
    std::vector<ir::Tensor> values;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      const TensorView<const float> output = session.output(i);
      values.push_back(
          ir::Tensor::from<float>({output.shape()[0], output.shape()[1]}, output.flat()));
    }
    return values;
  }

  /// A millisecond for each node and for every thousand weights of linear layers, whatever the
  /// machine: a model whose narrow layers do not pay in proportion, as real ones.
  Result<Milliseconds> latency(const ir::Graph& graph) override {
    double ms = static_cast<double>(graph.order().size());
    for (const ir::NodeId id : graph.nodes_of(ir::Op::linear)) {
      const ir::ValueId weight = graph.node(id).input(ir::Linear::weight);
      ms += static_cast<double>(graph.constant(weight)->elements()) / 1000;
    }
    return Milliseconds(ms);
  }

  int runs = 0;
};

}  // namespace rtai::testing
