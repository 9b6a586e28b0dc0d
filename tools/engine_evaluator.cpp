#include "tools/engine_evaluator.h"

#include "libopt/lower/lower.h"
#include "libopt/pass/pipeline.h"
#include "passes/passes.h"
#include "runtime/exec/session.h"

#include <algorithm>

namespace rtai::tools {
namespace {

Result<std::shared_ptr<const engine::Engine>> engine_of(const ir::Graph& graph) {
  RTAI_TRY(engine::Engine engine, lower(graph));
  return std::make_shared<const engine::Engine>(std::move(engine));
}

/// Ids, segments and hidden states by the type of their tensor.
Result<Batch> batch_of(const ir::Graph& graph,
                       std::span<const ir::Tensor> inputs,
                       std::span<const std::int32_t> offsets) {
  Batch batch{.ids = {}, .segments = {}, .offsets = offsets};
  int integers = 0;
  for (std::size_t i = 0; i < graph.inputs().size(); ++i) {
    if (inputs[i].dtype() == DType::f32)
      batch.hidden = inputs[i].data<float>();
    else if (integers++ == 0)
      batch.ids = inputs[i].data<std::int32_t>();
    else
      batch.segments = inputs[i].data<std::int32_t>();
  }
  return batch;
}

}  // namespace

Result<std::shared_ptr<const engine::Engine>> deployed_engine(const ir::Graph& graph,
                                                              Deployment deployment) {
  if (deployment == Deployment::as_it_is) return engine_of(graph);
  ir::Graph quantized = graph;
  PassContext context;
  RTAI_TRY_VOID(run_pipeline("quantize-int8", quantized, context, passes::make));
  return engine_of(quantized);
}

Result<std::vector<ir::Tensor>> EngineEvaluator::run(const ir::Graph& graph,
                                                     std::span<const ir::Tensor> inputs,
                                                     std::span<const Index> offsets,
                                                     std::span<const ir::ValueId> wanted) {
  ir::Graph tapped = graph;
  tapped.set_outputs({wanted.begin(), wanted.end()});
  tapped.erase_dead();
  RTAI_TRY(const auto engine, engine_of(tapped));
  const std::vector<std::int32_t> narrow(offsets.begin(), offsets.end());
  const Index tokens = offsets.back();
  RTAI_TRY(Session session, Session::create(engine, {.threads = workload_.threads,
                                                     .target = workload_.target,
                                                     .max_tokens = tokens,
                                                     .max_sequences = std::ssize(narrow) - 1}));
  RTAI_TRY(const Batch batch, batch_of(tapped, inputs, narrow));
  RTAI_TRY_VOID(session.run(batch));
  std::vector<ir::Tensor> values;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    const TensorView<const float> output = session.output(i);
    values.push_back(
        ir::Tensor::from<float>({output.shape()[0], output.shape()[1]}, output.flat()));
  }
  return values;
}

Result<Milliseconds> EngineEvaluator::latency(const ir::Graph& graph) {
  RTAI_TRY(const auto engine, engine_of(graph));
  RTAI_TRY(const BenchRun measured,
           bench_engine(engine, workload_, {.warmup = 2, .iterations = 11}));
  return Milliseconds(measured.latency.p50);
}

Result<std::vector<RunTimes>> EngineEvaluator::deployed_latencies(
    std::span<const ir::Graph> graphs) {
  RTAI_TRY(const std::vector<TurnTimes> measured, bench_deployed(graphs, 32));
  std::vector<RunTimes> times;
  for (const TurnTimes& one : measured)
    times.push_back({Milliseconds(one.comparable_ms), Milliseconds(one.latency.p50)});
  return times;
}

Result<std::vector<TurnTimes>> EngineEvaluator::bench_deployed(std::span<const ir::Graph> graphs,
                                                               int iterations) {
  std::vector<std::shared_ptr<const engine::Engine>> engines;
  for (const ir::Graph& graph : graphs) {
    RTAI_TRY(auto engine, deployed_engine(graph, deployment_));
    engines.push_back(std::move(engine));
  }
  return bench_in_turns(engines, workload_, iterations);
}

}  // namespace rtai::tools
