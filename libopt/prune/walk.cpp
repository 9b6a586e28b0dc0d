#include "libopt/prune/walk.h"

#include "libopt/ir/extract.h"
#include "libopt/prune/texts.h"

namespace rtai::prune {
namespace {

/// Bounds what is alive at once: an FFN of 3072 columns makes 48 MiB for this many tokens.
constexpr Index kTokensAtOnce = 4096;

}  // namespace

Walk::Walk(const TokenBatch& texts, Evaluator& evaluator)
    : evaluator_(&evaluator), batches_(cut(texts, kTokensAtOnce)), tokens_(texts.tokens()) {
  states_.resize(batches_.size());
}

Result<std::vector<ir::Tensor>> Walk::run(const ir::Graph& graph,
                                          Index batch,
                                          std::span<const ir::ValueId> wanted) {
  std::vector<ir::ValueId> missing;
  for (const ir::ValueId value : wanted) {
    if (value != place_) missing.push_back(value);
  }
  std::vector<ir::Tensor> made;
  if (!missing.empty()) {
    if (place_) {
      const ir::Graph part = ir::extract(graph, std::span(&*place_, 1), missing);
      const ir::Tensor& state = states_[static_cast<std::size_t>(batch)];
      RTAI_TRY(made, evaluator_->run(part, std::span(&state, 1), offsets(batch), part.outputs()));
    } else {
      const ir::Graph part = ir::extract(graph, {}, missing);
      const std::vector<ir::Tensor> inputs = model_inputs(part, at(batch));
      RTAI_TRY(made, evaluator_->run(part, inputs, offsets(batch), part.outputs()));
    }
  }
  std::vector<ir::Tensor> values;
  auto next = made.begin();
  for (const ir::ValueId value : wanted)
    values.push_back(value == place_ ? states_[static_cast<std::size_t>(batch)] : *next++);
  return values;
}

Result<std::vector<ir::Tensor>> Walk::run_towards(const ir::Graph& graph,
                                                  Index batch,
                                                  std::span<const ir::ValueId> wanted,
                                                  ir::ValueId next) {
  std::vector<ir::ValueId> all(wanted.begin(), wanted.end());
  all.push_back(next);
  RTAI_TRY(std::vector<ir::Tensor> values, run(graph, batch, all));
  states_[static_cast<std::size_t>(batch)] = std::move(values.back());
  values.pop_back();
  return values;
}

Result<void> Walk::advance(const ir::Graph& graph, ir::ValueId next) {
  if (next == place_) return {};
  for (Index batch = 0; batch < batches(); ++batch)
    RTAI_TRY_VOID(run_towards(graph, batch, {}, next));
  step(next);
  return {};
}

}  // namespace rtai::prune
