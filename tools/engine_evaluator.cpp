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

/// The graph as it will be deployed.
Result<std::shared_ptr<const engine::Engine>> deployed_engine_of(const ir::Graph& graph,
                                                                 Deployment deployment) {
  if (deployment == Deployment::as_it_is) return engine_of(graph);
  ir::Graph quantized = graph;
  PassContext context;
  RTAI_TRY_VOID(run_pipeline("quantize-int8", quantized, context, passes::make));
  return engine_of(quantized);
}

/// Runs of one session before the next has its turn. The first of them is not counted: the others
/// had the caches in between.
constexpr int kRunsOfATurn = 4;
/// Runs of a session need take no longer than this together; of a large model there are fewer.
constexpr double kEnoughMs = 5'000;
constexpr int kLeastRuns = 8;
/// Times as many runs as asked for are made at most until the shortest ones agree.
constexpr int kMostPatience = 4;

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
  RTAI_TRY(const std::vector<LatencySummary> measured, bench_deployed(graphs, 32));
  std::vector<RunTimes> times;
  for (const LatencySummary& latency : measured)
    times.push_back({Milliseconds(latency.min), Milliseconds(latency.p50)});
  return times;
}

Result<std::vector<LatencySummary>> EngineEvaluator::bench_deployed(
    std::span<const ir::Graph> graphs, int iterations) {
  std::vector<BenchSession> sessions;
  for (const ir::Graph& graph : graphs) {
    RTAI_TRY(auto engine, deployed_engine_of(graph, deployment_));
    RTAI_TRY(BenchSession session, BenchSession::create(std::move(engine), workload_, false));
    RTAI_TRY_VOID(session.measure(2, false));
    sessions.push_back(std::move(session));
  }
  // On a busy machine it takes more runs until some are undisturbed.
  const auto is_enough = [&] {
    const int count = sessions.back().count();
    double spent_ms = 0;
    for (const BenchSession& session : sessions)
      spent_ms += session.total_ms();
    return (spent_ms >= kEnoughMs * static_cast<double>(sessions.size()) && count >= kLeastRuns) ||
           count >= kMostPatience * iterations ||
           (count >= iterations && std::ranges::all_of(sessions, &BenchSession::is_settled));
  };
  while (!is_enough()) {
    for (BenchSession& session : sessions) {
      RTAI_TRY_VOID(session.measure(1, false));
      RTAI_TRY_VOID(session.measure(kRunsOfATurn, true));
    }
  }
  std::vector<LatencySummary> measured;
  for (BenchSession& session : sessions)
    measured.push_back(session.finish().latency);
  return measured;
}

}  // namespace rtai::tools
