#include "libopt/pass/evaluator.h"

#include <algorithm>

namespace rtai {
namespace {

/// So many tokens that `wanted` has at most 128 MiB of values; but not so few that weights are read
/// for little.
Index tokens_within_bounds(const ir::Graph& graph, std::span<const ir::ValueId> wanted) {
  constexpr Index kMostFloats = Index{32} << 20;
  Index columns = 1;
  for (const ir::ValueId value : wanted)
    columns += graph.type(value).dims->back().size;
  return std::clamp<Index>(kMostFloats / columns, 256, 4096);
}

}  // namespace

void TokenBatch::append(std::span<const std::int32_t> sequence_ids,
                        std::span<const std::int32_t> sequence_segments) {
  RTAI_ASSERT(sequence_ids.size() == sequence_segments.size(), "one segment for each token");
  ids.insert(ids.end(), sequence_ids.begin(), sequence_ids.end());
  segments.insert(segments.end(), sequence_segments.begin(), sequence_segments.end());
  offsets.push_back(std::ssize(ids));
}

Result<std::vector<RunTimes>> Evaluator::deployed_latencies(std::span<const ir::Graph> graphs) {
  std::vector<RunTimes> times;
  for (const ir::Graph& graph : graphs) {
    RTAI_TRY(const Milliseconds time, latency(graph));
    times.push_back({time, time});
  }
  return times;
}

TokenBatch slice(const TokenBatch& texts, Index first, Index last) {
  TokenBatch part;
  for (Index s = first; s < last; ++s) {
    const auto begin = static_cast<std::size_t>(texts.offsets[static_cast<std::size_t>(s)]);
    const auto size =
        static_cast<std::size_t>(texts.offsets[static_cast<std::size_t>(s) + 1]) - begin;
    part.append(std::span(texts.ids).subspan(begin, size),
                std::span(texts.segments).subspan(begin, size));
  }
  return part;
}

std::vector<ir::Tensor> model_inputs(const ir::Graph& graph, const TokenBatch& texts) {
  std::vector<ir::Tensor> inputs = {ir::Tensor::from<std::int32_t>({texts.tokens()}, texts.ids)};
  if (graph.inputs().size() > 1) {
    inputs.push_back(ir::Tensor::from<std::int32_t>({texts.tokens()}, texts.segments));
  }
  return inputs;
}

Result<void> for_each_batch(const ir::Graph& graph,
                            const TokenBatch& texts,
                            Evaluator& evaluator,
                            std::span<const ir::ValueId> wanted,
                            const std::function<void(std::span<const ir::Tensor> values,
                                                     std::span<const Index> offsets)>& use) {
  const Index tokens_at_once = tokens_within_bounds(graph, wanted);
  for (Index first = 0; first < texts.sequences();) {
    Index last = first + 1;
    const Index begin = texts.offsets[static_cast<std::size_t>(first)];
    while (last < texts.sequences() &&
           texts.offsets[static_cast<std::size_t>(last) + 1] - begin <= tokens_at_once) {
      ++last;
    }
    const TokenBatch part = slice(texts, first, last);
    RTAI_TRY(const std::vector<ir::Tensor> values,
             evaluator.run(graph, model_inputs(graph, part), part.offsets, wanted));
    use(values, part.offsets);
    first = last;
  }
  return {};
}

}  // namespace rtai
