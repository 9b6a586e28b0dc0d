// Softmax, layer normalization, pooling and norms.
#include "libopt/raise/internal/mask.h"
#include "libopt/raise/internal/reading.h"
#include "libopt/raise/internal/relative.h"
#include "libopt/raise/internal/rows.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::raise {
namespace {

using ir::Op;

std::size_t wrap(std::int64_t axis, std::size_t rank) {
  return static_cast<std::size_t>(axis < 0 ? axis + static_cast<std::int64_t>(rank) : axis);
}

Result<Meaning> softmax(Reading& reading, const ir::Node& node) {
  const Scores* given = reading.get<Scores>(node.input(0));
  if (given == nullptr) {
    return misfit(
        fmt::format("softmax of {}, expected attention scores", reading.describe(node.input(0))));
  }
  const Axis& axis = given->axes[wrap(node.attributes().integer("axis", -1), given->axes.size())];
  if (axis != Axis{kKey} && axis != Axis{kToken}) {
    return misfit(fmt::format("softmax of attention scores {} over another axis than the keys",
                              to_string(given->axes)));
  }
  const Scores scores = axis == Axis{kKey} ? *given : turned(*given);
  RTAI_TRY(const MaskMeaning mask, mask_meaning(scores, reading.probes()));
  Probabilities probabilities{.query = scores.query,
                              .key = scores.key,
                              .scale = mask.scale,
                              .causal = mask.causal,
                              .axes = scores.axes};
  RTAI_TRY(probabilities.relative, relative_tables(reading, scores, mask));
  return probabilities;
}

Result<Meaning> layer_norm(Reading& reading, const ir::Node& node) {
  const Rows* given = reading.get<Rows>(node.input(0));
  const ir::Tensor* weight = reading.constant(node.input(1));
  const ir::Tensor* bias = reading.constant(node.input(2));
  if (given == nullptr || weight == nullptr || (node.input(2) != ir::kNoValue && bias == nullptr)) {
    return misfit(fmt::format("normalizes {}", reading.describe(node.input(0))));
  }
  RTAI_TRY(Rows rows, settle(reading, *given));
  const Index columns = reading.term(rows.term).columns;
  Axis normalized;
  for (std::size_t i = wrap(node.attributes().integer("axis", -1), rows.axes.size());
       i < rows.axes.size(); ++i) {
    normalized.insert(normalized.end(), rows.axes[i].begin(), rows.axes[i].end());
  }
  const bool fits = normalized == Axis{feature(columns, 1)} && weight->elements() == columns &&
                    (bias == nullptr || bias->elements() == columns);
  if (!fits) {
    return misfit(fmt::format("normalizes {} with {}", reading.describe(node.input(0)),
                              reading.describe(node.input(1))));
  }
  LayerNormTerm norm{.src = rows.term,
                     .weight = weight->reshaped({columns}),
                     .bias = ir::Tensor::from<float>(
                         {columns}, std::vector<float>(static_cast<std::size_t>(columns), 0.0f)),
                     .epsilon = node.attributes().real("epsilon", 1e-5f)};
  if (bias != nullptr) norm.bias = bias->reshaped({columns});
  rows.term = reading.add(std::move(norm), columns, node.name());
  rows.zero_padding = false;
  return rows;
}

/// The axes that a reduction removes or leaves as 1.
std::vector<bool> reduced_axes(const Reading& reading, const ir::Node& node, std::size_t rank) {
  const ir::Tensor* axes = reading.constant(node.input(1));
  if (axes == nullptr || axes->elements() == 0) return std::vector<bool>(rank, true);
  std::vector<bool> reduced(rank, false);
  for (const Index axis : axes->to_indices())
    reduced[wrap(axis, rank)] = true;
  return reduced;
}

Axes without(const Axes& axes, const std::vector<bool>& reduced, bool keep) {
  Axes left;
  for (std::size_t i = 0; i < axes.size(); ++i) {
    if (!reduced[i])
      left.push_back(axes[i]);
    else if (keep)
      left.emplace_back();
  }
  return left;
}

Result<Meaning> reduce(Reading& reading, const ir::Node& node) {
  const ir::ValueId input = node.input(0);
  const Axes* axes = axes_of(reading.meaning(input));
  const auto refuse = [&] {
    return misfit(fmt::format("{} of {}", info(node.op()).name, reading.describe(input)));
  };
  if (axes == nullptr) return refuse();
  const std::vector<bool> reduced = reduced_axes(reading, node, axes->size());
  Axis together;
  for (std::size_t i = 0; i < axes->size(); ++i) {
    if (reduced[i]) together.insert(together.end(), (*axes)[i].begin(), (*axes)[i].end());
  }
  const bool keep = node.attributes().integer("keepdims", 1) != 0;
  const Axes left = without(*axes, reduced, keep);

  if (const auto* statistic = reading.get<RowStatistic>(input)) {
    const bool is_row = dense_columns({together}) == dense_columns(statistic->of.axes);
    if (node.op() != Op::reduce_sum || statistic->kind != RowStatistic::Kind::squares || !is_row)
      return refuse();
    return RowStatistic{
        .kind = RowStatistic::Kind::sum_of_squares, .of = statistic->of, .axes = left};
  }
  const Rows* given = reading.get<Rows>(input);
  if (given == nullptr) return refuse();
  const bool is_row = columns_of(together).has_value() &&
                      dense_columns({together}) == dense_columns(given->axes) &&
                      dense_columns(given->axes).has_value();
  if (is_row && (node.op() == Op::reduce_l2 || node.op() == Op::reduce_sum_square)) {
    const auto kind =
        node.op() == Op::reduce_l2 ? RowStatistic::Kind::norm : RowStatistic::Kind::sum_of_squares;
    return RowStatistic{.kind = kind, .of = *given, .axes = left};
  }
  if (together != Axis{kToken}) return refuse();
  if (reading.may_be_padded() && !(given->zero_padding && node.op() == Op::reduce_sum)) {
    return misfit(fmt::format("{} of {}, padded ones included", info(node.op()).name,
                              reading.describe(input)));
  }
  Rows pooled = *given;
  const Index columns = reading.term(pooled.term).columns;
  if (node.op() == Op::reduce_sum)
    pooled.term = reading.add(TokenSumTerm{pooled.term}, columns, node.name());
  else if (node.op() == Op::reduce_mean)
    pooled.term = reading.add(RowsTerm{pooled.term, Op::mean_pool}, columns, node.name());
  else
    return refuse();
  pooled.axes = left;
  pooled.zero_padding = false;
  return pooled;
}

}  // namespace

Result<Meaning> read_reduction(Reading& reading, const ir::Node& node) {
  switch (node.op()) {
    case Op::softmax:
      return softmax(reading, node);
    case Op::layer_normalization:
      return layer_norm(reading, node);
    case Op::log_softmax:
    case Op::arg_max:
      return misfit(fmt::format("{} of {}", info(node.op()).name, reading.describe(node.input(0))));
    default:
      return reduce(reading, node);
  }
}

}  // namespace rtai::raise
