// Answers the passes' questions with rtai's own runtime.
#pragma once

#include "libopt/pass/evaluator.h"
#include "tools/workload.h"

#include <memory>
#include <string>

namespace rtai::tools {

class EngineEvaluator final : public Evaluator {
 public:
  explicit EngineEvaluator(Workload workload) : workload_(std::move(workload)) {}

  Result<std::vector<ir::Tensor>> run(const ir::Graph& graph,
                                      std::span<const ir::Tensor> inputs,
                                      std::span<const Index> offsets,
                                      std::span<const ir::ValueId> wanted) override;

  Result<Milliseconds> latency(const ir::Graph& graph) override;

 private:
  Workload workload_;
};

}  // namespace rtai::tools
