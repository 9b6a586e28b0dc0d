// Answers the passes' questions with rtai's own runtime.
#pragma once

#include "libopt/pass/evaluator.h"
#include "tools/timing.h"
#include "tools/workload.h"

#include <memory>
#include <string>
#include <vector>

namespace rtai::tools {

/// What a model will run as once it is deployed, whatever it is now.
enum class Deployment : std::uint8_t { as_it_is, int8 };

/// The graph as it will run once it is deployed.
Result<std::shared_ptr<const engine::Engine>> deployed_engine(const ir::Graph& graph,
                                                              Deployment deployment);

class EngineEvaluator final : public Evaluator {
 public:
  explicit EngineEvaluator(Workload workload, Deployment deployment = Deployment::as_it_is)
      : workload_(std::move(workload)), deployment_(deployment) {}

  /// From here on, graphs are measured as this.
  void deploy_as(Deployment deployment) { deployment_ = deployment; }

  Result<std::vector<ir::Tensor>> run(const ir::Graph& graph,
                                      std::span<const ir::Tensor> inputs,
                                      std::span<const Index> offsets,
                                      std::span<const ir::ValueId> wanted) override;

  Result<Milliseconds> latency(const ir::Graph& graph) override;

  Result<std::vector<RunTimes>> deployed_latencies(std::span<const ir::Graph> graphs) override;

  /// The same with all that was measured; at least `iterations` runs of each graph.
  Result<std::vector<TurnTimes>> bench_deployed(std::span<const ir::Graph> graphs, int iterations);

 private:
  Workload workload_;
  Deployment deployment_;
};

}  // namespace rtai::tools
