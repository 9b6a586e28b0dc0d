// Elementwise operators: biases, residuals, scales, masks, activations.
#include "libopt/raise/internal/lookup.h"
#include "libopt/raise/internal/reading.h"
#include "libopt/raise/internal/relative.h"
#include "libopt/raise/internal/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

/// The largest number that a norm is raised to or to which it is added, against division by zero.
constexpr double kTiny = 1e-6;

Error unexpected(const Reading& reading, const ir::Node& node) {
  std::string inputs;
  for (const ValueId input : node.inputs())
    inputs += (inputs.empty() ? "" : " and ") + reading.describe(input);
  return misfit(inputs);
}

bool same_rows(const Rows& a, const Rows& b) {
  return a.term == b.term && a.axes == b.axes && a.offset == b.offset && a.scale == b.scale;
}

/// Rows under the axes of the result, which the other operand may have widened.
Result<Rows> widen(const Reading& reading, const ir::Node& node, const Rows& rows) {
  Rows wide = rows;
  auto axes = expand(rows.axes, reading.dims(node.output()), reading.probes());
  if (!axes) return misfit(fmt::format("rows {} repeated", to_string(rows.axes)));
  wide.axes = *std::move(axes);
  return wide;
}

// --- rows and rows

Result<Meaning> add_rows(Reading& reading,
                         const ir::Node& node,
                         const Rows& left,
                         const Rows& right) {
  RTAI_TRY(Rows a, widen(reading, node, left));
  RTAI_TRY(Rows b, widen(reading, node, right));
  RTAI_TRY(a, settle(reading, a));
  RTAI_TRY(b, settle(reading, b));
  const Index columns = reading.term(a.term).columns;
  const auto* x = reading.term_as<EmbeddingTerm>(a.term);
  const auto* y = reading.term_as<EmbeddingTerm>(b.term);
  if (a.axes != b.axes || columns != reading.term(b.term).columns) {
    return misfit(fmt::format("rows {} and rows {}", to_string(a.axes), to_string(b.axes)));
  }
  Rows sum = a;
  sum.zero_padding = a.zero_padding && b.zero_padding;
  std::optional<EmbeddingTerm> embedding =
      x != nullptr && y != nullptr ? merge(*x, *y) : std::nullopt;
  sum.term = embedding ? reading.add(*std::move(embedding), columns, node.name())
                       : reading.add(AddTerm{a.term, b.term}, columns, node.name());
  return sum;
}

/// x * sigmoid(x), or the square of x.
Result<Meaning> multiply_rows(Reading& reading,
                              const ir::Node& node,
                              const Rows& left,
                              const Rows& right) {
  if (same_rows(left, right)) {
    return RowStatistic{.kind = RowStatistic::Kind::squares, .of = left, .axes = left.axes};
  }
  for (const auto& [x, y] : {std::pair{&left, &right}, std::pair{&right, &left}}) {
    const auto* activation = reading.term_as<ActivationTerm>(y->term);
    if (activation == nullptr || activation->kind != "sigmoid" || y->scale != 1) continue;
    RTAI_TRY(Rows rows, settle(reading, *x));
    if (activation->src != rows.term || rows.axes != y->axes) continue;
    const Index columns = reading.term(rows.term).columns;
    rows.term = reading.add(ActivationTerm{rows.term, "silu"}, columns, node.name());
    return rows;
  }
  return misfit("the product of rows and rows");
}

// --- rows and what is known

/// The tokens of each sequence summed and divided by their number.
Result<Meaning> divide_sum(
    Reading& reading, const ir::Node& node, const Rows& rows, ValueId divisor, bool is_reciprocal) {
  constexpr double kSame = 1e-5;
  bool is_count = true;
  for (const Probe& probe : reading.probes()) {
    const ir::Tensor& known = *probe.contents(divisor);
    for_each_place(rows.axes, probe, known.dims(), [&](const Place& place, Index element) {
      const Index real = probe.lengths[static_cast<std::size_t>(place.batch)];
      if (real == 0) return;
      const double x = is_reciprocal ? 1 / known.value(element) : known.value(element);
      is_count = is_count && std::fabs(x / static_cast<double>(real) - 1) < kSame;
    });
  }
  if (!is_count) {
    return misfit(
        fmt::format("a sum over tokens and {}, expected their number", reading.describe(divisor)));
  }
  const auto* sum = reading.term_as<TokenSumTerm>(rows.term);
  Rows mean = rows;
  mean.term =
      reading.add(RowsTerm{sum->src, Op::mean_pool}, reading.term(rows.term).columns, node.name());
  return mean;
}

Result<Meaning> combine(Reading& reading, const ir::Node& node, const Rows& narrow, ValueId known) {
  RTAI_TRY(const Rows rows, widen(reading, node, narrow));
  const bool divides = node.op() == Op::div;
  if (reading.term_as<TokenSumTerm>(rows.term) != nullptr && (divides || node.op() == Op::mul)) {
    return divide_sum(reading, node, rows, known, !divides);
  }
  std::optional<ByColumn> vector = by_column(reading, rows, known);
  const auto* embedding = reading.term_as<EmbeddingTerm>(rows.term);
  if (!vector && node.op() == Op::add && embedding != nullptr && rows.scale == 1) {
    if (const auto table = position_table(reading, rows, known)) {
      EmbeddingTerm positions;
      positions.position = *table;
      const auto sum = merge(*embedding, positions);
      if (!sum) return misfit("two tables of positions");
      Rows result = rows;
      result.term = reading.add(*sum, reading.term(rows.term).columns, node.name());
      return result;
    }
  }
  if (!vector) {
    return misfit(fmt::format("rows {} and {}, which differs from token to token",
                              to_string(rows.axes), reading.describe(known)));
  }
  if (node.op() == Op::sub) {
    for (double& value : vector->values)
      value = -value;
    vector->first = -vector->first;
    vector->constant.reset();
  }
  if (divides) {
    for (double& value : vector->values)
      value = 1 / value;
    vector->first = 1 / vector->first;
    vector->at_padding.reset();
  }
  if (node.op() == Op::mul || divides) {
    RTAI_TRY(Rows result, times(reading, rows, *vector));
    return result;
  }
  RTAI_TRY(Rows result, plus(reading, rows, *vector));
  return result;
}

// --- scores and what is known

/// Notes the change; what all of them do together is looked at by the softmax.
Result<Meaning> change_scores(const Reading& reading,
                              const ir::Node& node,
                              const Scores& narrow,
                              ScoreChange change) {
  const auto axes = expand(narrow.axes, reading.dims(node.output()), reading.probes());
  if (!axes || *axes != narrow.axes) {
    return misfit(fmt::format("attention scores {} changed by {}", to_string(narrow.axes),
                              reading.describe(change.known)));
  }
  Scores scores = narrow;
  change.axes = *axes;
  scores.changes.push_back(std::move(change));
  return scores;
}

Result<Meaning> combine(const Reading& reading,
                        const ir::Node& node,
                        const Scores& scores,
                        ValueId known) {
  using Kind = ScoreChange::Kind;
  const auto change = [&](Kind kind) {
    return change_scores(reading, node, scores, {.kind = kind, .known = known, .axes = {}});
  };
  switch (node.op()) {
    case Op::add:
      return change(Kind::add);
    case Op::sub:
      return change(Kind::subtract);
    case Op::mul:
      return change(Kind::multiply);
    case Op::div:
      return change(Kind::divide);
    default:
      return unexpected(reading, node);
  }
}

// --- where

/// where(mask, scores, fill) and where(mask, fill, scores)
Result<Meaning> fill_scores(const Reading& reading, const ir::Node& node, bool scores_if_true) {
  using Kind = ScoreChange::Kind;
  const ValueId side = node.input(scores_if_true ? 1 : 2);
  const std::optional<double> fill = reading.number(node.input(scores_if_true ? 2 : 1));
  if (!fill || !reading.is_known(node.input(0))) return unexpected(reading, node);
  return change_scores(reading, node, *reading.get<Scores>(side),
                       {.kind = scores_if_true ? Kind::fill_where_false : Kind::fill_where_true,
                        .known = node.input(0),
                        .axes = {},
                        .fill = *fill});
}

/// Probabilities that are replaced only where they are not looked at or zero anyway.
Result<Meaning> guard_probabilities(const Reading& reading, const ir::Node& node, bool if_true) {
  const ValueId side = node.input(if_true ? 1 : 2);
  const auto& probabilities = *reading.get<Probabilities>(side);
  if (reading.get<NotANumber>(node.input(0)) != nullptr && !if_true) return probabilities;
  const std::optional<double> fill = reading.number(node.input(if_true ? 2 : 1));
  if (!reading.is_known(node.input(0)) || !fill) return unexpected(reading, node);
  bool harmless = true;
  for (const Probe& probe : reading.probes()) {
    const ir::Tensor& condition = *probe.contents(node.input(0));
    for_each_place(
        probabilities.axes, probe, condition.dims(), [&](const Place& at, Index element) {
          const Index real = probe.lengths[static_cast<std::size_t>(at.batch)];
          const bool kept = (condition.value(element) != 0) == if_true;
          const bool hidden = at.key >= real || (probabilities.causal && at.key > at.token);
          harmless = harmless && (kept || at.token >= real || (hidden && *fill == 0));
        });
  }
  return harmless ? Result<Meaning>(probabilities) : unexpected(reading, node);
}

/// Rows that are replaced at padded tokens only.
Result<Meaning> fill_rows(Reading& reading, const ir::Node& node, bool rows_if_true) {
  const ValueId side = node.input(rows_if_true ? 1 : 2);
  const std::optional<double> fill = reading.number(node.input(rows_if_true ? 2 : 1));
  if (!reading.is_known(node.input(0)) || !fill) return unexpected(reading, node);
  RTAI_TRY(Rows rows, widen(reading, node, *reading.get<Rows>(side)));
  const auto condition = by_column(reading, rows, node.input(0));
  if (!condition || !condition->uniform || (condition->first != 0) != rows_if_true) {
    return unexpected(reading, node);
  }
  const bool fills_padding = condition->at_padding && (*condition->at_padding != 0) != rows_if_true;
  rows.zero_padding = *fill == 0 && fills_padding;
  return rows;
}

Result<Meaning> where(Reading& reading, const ir::Node& node) {
  for (const bool if_true : {true, false}) {
    const ValueId side = node.input(if_true ? 1 : 2);
    if (reading.get<Scores>(side) != nullptr) return fill_scores(reading, node, if_true);
    if (reading.get<Probabilities>(side) != nullptr) {
      return guard_probabilities(reading, node, if_true);
    }
    if (reading.get<Rows>(side) != nullptr) return fill_rows(reading, node, if_true);
  }
  return unexpected(reading, node);
}

/// A branch that is always taken: what decides are sizes, in the exports of scripted functions.
Result<Meaning> choose(const Reading& reading, const ir::Node& node) {
  const std::optional<double> condition = reading.number(node.input(0));
  if (condition) return reading.meaning(node.input(*condition != 0 ? 1 : 2));
  return misfit("a branch that depends on more than sizes");
}

// --- the rest

Result<Meaning> activation(Reading& reading, const ir::Node& node, std::string kind) {
  const Rows* rows = reading.get<Rows>(node.input(0));
  if (rows == nullptr) return unexpected(reading, node);
  RTAI_TRY(Rows result, settle(reading, *rows));
  const Index columns = reading.term(result.term).columns;
  result.term = reading.add(ActivationTerm{result.term, std::move(kind)}, columns, node.name());
  result.zero_padding = false;
  return result;
}

/// A norm that is kept away from zero.
Result<Meaning> bound_norm(const Reading& reading, const ir::Node& node) {
  for (std::size_t i = 0; i < node.inputs().size(); ++i) {
    const auto* statistic = reading.get<RowStatistic>(node.input(i));
    if (statistic == nullptr) continue;
    double bound = 0;
    for (std::size_t j = 0; j < node.inputs().size(); ++j) {
      // clip's upper bound may be anything large
      if (j == i || node.input(j) == ir::kNoValue) continue;
      const std::optional<double> number = reading.number(node.input(j));
      if (!number) return unexpected(reading, node);
      if (node.op() == Op::clip && j == 2) {
        if (*number < 1e30) return unexpected(reading, node);
        continue;
      }
      bound = std::max(bound, *number);
    }
    if (bound > kTiny) return misfit(fmt::format("a norm with a bound of {}", bound));
    return *statistic;
  }
  return unexpected(reading, node);
}

Result<Meaning> divide_by_norm(Reading& reading, const ir::Node& node) {
  const Rows* rows = reading.get<Rows>(node.input(0));
  const auto* norm = reading.get<RowStatistic>(node.input(1));
  if (rows == nullptr || norm == nullptr || norm->kind != RowStatistic::Kind::norm ||
      !same_rows(*rows, norm->of)) {
    return unexpected(reading, node);
  }
  Rows source = *rows;
  source.scale = 1;
  RTAI_TRY(Rows result, settle(reading, source));
  const Index columns = reading.term(result.term).columns;
  result.term = reading.add(RowsTerm{result.term, Op::l2_normalize}, columns, node.name());
  if (rows->scale < 0) result.scale = -1;
  return result;
}

Result<Meaning> power(const Reading& reading, const ir::Node& node) {
  const Rows* rows = reading.get<Rows>(node.input(0));
  if (rows == nullptr || reading.number(node.input(1)) != 2.0) return unexpected(reading, node);
  return RowStatistic{.kind = RowStatistic::Kind::squares, .of = *rows, .axes = rows->axes};
}

Result<Meaning> square_root(const Reading& reading, const ir::Node& node) {
  const auto* sum = reading.get<RowStatistic>(node.input(0));
  if (sum == nullptr || sum->kind != RowStatistic::Kind::sum_of_squares) {
    return unexpected(reading, node);
  }
  RowStatistic norm = *sum;
  norm.kind = RowStatistic::Kind::norm;
  return norm;
}

/// add, sub, mul and div of two operands
Result<Meaning> binary(Reading& reading, const ir::Node& node) {
  const ValueId a = node.input(0);
  const ValueId b = node.input(1);
  const Op op = node.op();
  const bool commutes = op == Op::add || op == Op::mul;
  const Rows* x = reading.get<Rows>(a);
  const Rows* y = reading.get<Rows>(b);
  // Copies: new terms may move the old ones.
  if (x != nullptr && y != nullptr) {
    const Rows left = *x;
    const Rows right = *y;
    if (op == Op::add) return add_rows(reading, node, left, right);
    if (op == Op::mul) return multiply_rows(reading, node, left, right);
    return unexpected(reading, node);
  }
  if (op == Op::div && reading.get<RowStatistic>(b) != nullptr)
    return divide_by_norm(reading, node);
  if (op == Op::add &&
      (reading.get<RowStatistic>(a) != nullptr || reading.get<RowStatistic>(b) != nullptr)) {
    return bound_norm(reading, node);
  }
  if (x != nullptr && reading.is_known(b)) return combine(reading, node, Rows(*x), b);
  if (y != nullptr && reading.is_known(a) && commutes) return combine(reading, node, Rows(*y), a);
  const Scores* s = reading.get<Scores>(a);
  const Scores* t = reading.get<Scores>(b);
  const auto* p = reading.get<RelativeScores>(a);
  const auto* r = reading.get<RelativeScores>(b);
  if (op == Op::add && p != nullptr && r != nullptr) return add_relative(*p, *r);
  if (op == Op::add && s != nullptr && r != nullptr) return add_relative(*s, *r);
  if (op == Op::add && p != nullptr && t != nullptr) return add_relative(*t, *p);
  // DeBERTa sums its parts from zero on.
  if (op == Op::add && p != nullptr && reading.number(b) == 0.0) return *p;
  if (op == Op::add && r != nullptr && reading.number(a) == 0.0) return *r;
  const bool a_is_relative = p != nullptr || reading.get<Lookups>(a) != nullptr;
  const bool b_is_relative = r != nullptr || reading.get<Lookups>(b) != nullptr;
  if ((op == Op::mul || op == Op::div) && (a_is_relative || (b_is_relative && op == Op::mul))) {
    const std::optional<double> number = reading.number(a_is_relative ? b : a);
    if (!number || *number == 0) return unexpected(reading, node);
    return times(reading.meaning(a_is_relative ? a : b), op == Op::div ? 1 / *number : *number);
  }
  if (s != nullptr && reading.is_known(b)) return combine(reading, node, *s, b);
  if (t != nullptr && reading.is_known(a) && commutes) return combine(reading, node, *t, a);
  return unexpected(reading, node);
}

}  // namespace

Result<Meaning> read_arithmetic(Reading& reading, const ir::Node& node) {
  switch (node.op()) {
    case Op::add:
    case Op::sub:
    case Op::mul:
    case Op::div:
      return binary(reading, node);
    case Op::where:
      return where(reading, node);
    case Op::choose:
      return choose(reading, node);
    case Op::gelu: {
      const bool tanh = node.attributes().text("approximate", "none") == "tanh";
      return activation(reading, node, tanh ? "gelu_tanh" : "gelu");
    }
    case Op::relu:
    case Op::tanh:
    case Op::sigmoid:
      return activation(reading, node, std::string(info(node.op()).name));
    case Op::is_nan:
      if (reading.get<Probabilities>(node.input(0)) == nullptr) return unexpected(reading, node);
      return NotANumber{};
    case Op::pow:
      return power(reading, node);
    case Op::sqrt:
      return square_root(reading, node);
    case Op::max:
    case Op::clip:
      return bound_norm(reading, node);
    default:
      return unexpected(reading, node);
  }
}

}  // namespace rtai::raise
