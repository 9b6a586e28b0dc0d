// What a pass must measure while it decides, it asks of an Evaluator: passes know no executor.
#pragma once

#include "libopt/ir/graph.h"
#include "runtime/base/result.h"

#include <chrono>
#include <functional>
#include <span>
#include <vector>

namespace rtai {

using Milliseconds = std::chrono::duration<double, std::milli>;

/// Token sequences laid end to end, without padding.
struct TokenBatch {
  std::vector<std::int32_t> ids;       // [tokens]
  std::vector<std::int32_t> segments;  // [tokens]
  std::vector<Index> offsets = {
      0};  // [sequences + 1]; sequence i is tokens [offsets[i], offsets[i + 1])

  Index sequences() const { return std::ssize(offsets) - 1; }
  Index tokens() const { return offsets.back(); }
  void append(std::span<const std::int32_t> sequence_ids,
              std::span<const std::int32_t> sequence_segments);
};

/// Times of many runs of one graph.
struct RunTimes {
  Milliseconds comparable{};  // with those of the graphs it was measured with, at one speed of all
  Milliseconds median{};      // what users wait
};

class Evaluator {
 public:
  virtual ~Evaluator() = default;

  /// Runs a transformer-level graph in fp32 and returns the values of `wanted` in that order.
  /// `inputs` has one tensor for each graph input: ids and segments i32[tokens], or hidden states
  /// f32[tokens, hidden] where the graph begins in the middle of a model.
  virtual Result<std::vector<ir::Tensor>> run(const ir::Graph& graph,
                                              std::span<const ir::Tensor> inputs,
                                              std::span<const Index> offsets,
                                              std::span<const ir::ValueId> wanted) = 0;

  /// The median time of one run of `graph` on the workload that will be deployed (its batch,
  /// length, threads, device), at the precision of the graph's own weights.
  virtual Result<Milliseconds> latency(const ir::Graph& graph) = 0;

  /// The same for several float graphs at the precision that will be deployed, whatever their
  /// weights are now. Their runs take turns, so that a drift of the machine's speed touches all
  /// alike. By default latency() of each.
  virtual Result<std::vector<RunTimes>> deployed_latencies(std::span<const ir::Graph> graphs);
};

/// Runs a whole model over a token batch, a part at a time, and hands the values of `wanted`, which
/// are matrices, for those tokens to `use`, so that memory does not grow with the number of texts.
///
/// Errors: as Evaluator::run.
Result<void> for_each_batch(const ir::Graph& graph,
                            const TokenBatch& texts,
                            Evaluator& evaluator,
                            std::span<const ir::ValueId> wanted,
                            const std::function<void(std::span<const ir::Tensor> values,
                                                     std::span<const Index> offsets)>& use);

/// Sequences [first, last) of a batch.
TokenBatch slice(const TokenBatch& texts, Index first, Index last);

/// The graph inputs of a whole model for these tokens: ids, then segments if the graph reads them.
std::vector<ir::Tensor> model_inputs(const ir::Graph& graph, const TokenBatch& texts);

}  // namespace rtai
