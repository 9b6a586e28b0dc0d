#include "libopt/raise/internal/rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace rtai::raise {
namespace {

constexpr int kDeepestSum = 8;  // additions that a bias is carried through

ir::Tensor make_vector(const std::vector<double>& values) {
  return ir::Tensor::from<float>({std::ssize(values)},
                                 std::vector<float>(values.begin(), values.end()));
}

/// What is added to a term.
struct Addend {
  std::vector<double> values;  // one for each column
  std::optional<ir::Tensor> constant;
};

ir::Tensor sum(const std::optional<ir::Tensor>& a, const Addend& b) {
  if (!a) return b.constant ? *b.constant : make_vector(b.values);
  std::vector<double> total = b.values;
  for (std::size_t i = 0; i < total.size(); ++i)
    total[i] += a->value(static_cast<Index>(i));
  return make_vector(total);
}

ir::Tensor product(const ir::Tensor& a, const std::vector<double>& b) {
  std::vector<double> result = b;
  for (std::size_t i = 0; i < result.size(); ++i)
    result[i] *= a.value(static_cast<Index>(i));
  return make_vector(result);
}

ir::Tensor product(const ir::Tensor& a, double b) {
  ir::Tensor result = a;
  for (float& value : result.mutable_data<float>())
    value = static_cast<float>(value * b);
  return result;
}

/// Which terms may take a vector as part of their bias.
enum class Takers : std::uint8_t { linear, any };

/// The term plus a vector, or nothing if it has no bias that could take it.
std::optional<TermId> plus_vector(
    Reading& reading, TermId id, const Addend& vector, Takers takers, int depth = 0) {
  const Term term = reading.term(id);
  if (const auto* linear = std::get_if<LinearTerm>(&term.kind)) {
    LinearTerm changed = *linear;
    changed.bias = sum(linear->bias, vector);
    return reading.add(std::move(changed), term.columns, term.name);
  }
  if (const auto* add = std::get_if<AddTerm>(&term.kind); add != nullptr && depth < kDeepestSum) {
    const AddTerm sides = *add;
    if (const auto b = plus_vector(reading, sides.b, vector, takers, depth + 1)) {
      return reading.add(AddTerm{sides.a, *b}, term.columns, term.name);
    }
    if (const auto a = plus_vector(reading, sides.a, vector, takers, depth + 1)) {
      return reading.add(AddTerm{*a, sides.b}, term.columns, term.name);
    }
  }
  if (takers == Takers::linear) return std::nullopt;
  if (const auto* norm = std::get_if<LayerNormTerm>(&term.kind)) {
    LayerNormTerm changed = *norm;
    changed.bias = sum(norm->bias, vector);
    return reading.add(std::move(changed), term.columns, term.name);
  }
  if (const auto* embedding = std::get_if<EmbeddingTerm>(&term.kind)) {
    EmbeddingTerm changed = *embedding;
    changed.row = sum(embedding->row, vector);
    return reading.add(std::move(changed), term.columns, term.name);
  }
  return std::nullopt;
}

/// A residual is used elsewhere, too, and would be computed twice: linear layers come first.
std::optional<TermId> plus_vector(Reading& reading, TermId id, const Addend& vector) {
  const auto linear = plus_vector(reading, id, vector, Takers::linear);
  return linear ? linear : plus_vector(reading, id, vector, Takers::any);
}

/// The term times a number, or nothing if it has no weights of its own.
std::optional<TermId> times_number(Reading& reading, TermId id, double factor, int depth = 0) {
  const Term term = reading.term(id);
  const auto again = [&](TermId src) { return times_number(reading, src, factor, depth + 1); };
  if (depth > kDeepestSum) return std::nullopt;
  if (const auto* linear = std::get_if<LinearTerm>(&term.kind)) {
    LinearTerm changed = *linear;
    changed.weight_scale *= factor;
    if (changed.bias) changed.bias = product(*changed.bias, factor);
    return reading.add(std::move(changed), term.columns, term.name);
  }
  if (const auto* norm = std::get_if<LayerNormTerm>(&term.kind)) {
    LayerNormTerm changed = *norm;
    changed.weight = product(changed.weight, factor);
    changed.bias = product(changed.bias, factor);
    return reading.add(std::move(changed), term.columns, term.name);
  }
  if (const auto* embedding = std::get_if<EmbeddingTerm>(&term.kind)) {
    EmbeddingTerm changed = *embedding;
    for (auto* table : {&changed.word, &changed.position, &changed.segment, &changed.row}) {
      if (*table) *table = product(**table, factor);
    }
    return reading.add(std::move(changed), term.columns, term.name);
  }
  if (const auto* add = std::get_if<AddTerm>(&term.kind)) {
    const AddTerm sides = *add;
    const auto a = again(sides.a);
    const auto b = a ? again(sides.b) : std::nullopt;
    if (b) return reading.add(AddTerm{*a, *b}, term.columns, term.name);
  }
  if (const auto* columns = std::get_if<ColumnsTerm>(&term.kind)) {
    ColumnsTerm changed = *columns;
    if (const auto src = again(changed.src)) {
      changed.src = *src;
      return reading.add(changed, term.columns, term.name);
    }
  }
  if (const auto* rows = std::get_if<RowsTerm>(&term.kind)) {
    RowsTerm changed = *rows;
    const bool is_linear = changed.op != ir::Op::l2_normalize;
    if (const auto src = is_linear ? again(changed.src) : std::nullopt) {
      changed.src = *src;
      return reading.add(changed, term.columns, term.name);
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<Index> dense_columns(const Axes& axes) {
  std::vector<Atom> features;
  for (const Axis& axis : axes) {
    std::copy_if(axis.begin(), axis.end(), std::back_inserter(features),
                 [](const Atom& atom) { return atom.unit == Unit::feature; });
  }
  std::sort(features.begin(), features.end(),
            [](const Atom& a, const Atom& b) { return a.stride < b.stride; });
  Index columns = 1;
  for (const Atom& atom : features) {
    if (atom.stride != columns) return std::nullopt;
    columns *= atom.size;
  }
  return columns;
}

TermId take_columns(Reading& reading, TermId src, Index begin, Index count) {
  const Term term = reading.term(src);
  if (begin == 0 && count == term.columns) return src;
  for (std::size_t i = 0; i < reading.terms().size(); ++i) {  // the same columns once
    const auto* columns = std::get_if<ColumnsTerm>(&reading.terms()[i].kind);
    if (columns == nullptr || columns->src != src) continue;
    if (columns->begin == begin && columns->end == begin + count) return static_cast<TermId>(i);
  }
  return reading.add(ColumnsTerm{src, begin, begin + count}, count, term.name);
}

Result<Rows> settle(Reading& reading, const Rows& rows) {
  const std::optional<Index> columns = dense_columns(rows.axes);
  if (!columns) {
    return misfit(fmt::format("rows {} that repeat or leave out columns", to_string(rows.axes)));
  }
  Rows settled = rows;
  settled.term = take_columns(reading, rows.term, rows.offset, *columns);
  settled.offset = 0;
  if (rows.scale != 1) {
    const auto scaled = times_number(reading, settled.term, rows.scale);
    if (!scaled) return misfit(fmt::format("rows scaled by {} outside of attention", rows.scale));
    settled.term = *scaled;
    settled.scale = 1;
  }
  return settled;
}

std::optional<ByColumn> by_column(const Reading& reading, const Rows& rows, ir::ValueId value) {
  ByColumn result;
  result.values.resize(static_cast<std::size_t>(reading.term(rows.term).columns), 0.0);
  std::vector<bool> seen(result.values.size(), false);
  bool any = false;
  bool same = true;
  bool same_at_padding = true;
  const bool has_tokens = has(rows.axes, Unit::token);
  for (const Probe& probe : reading.probes()) {
    const ir::Tensor& known = *probe.contents(value);
    for_each_place(rows.axes, probe, known.dims(), [&](const Place& place, Index element) {
      const double x = known.value(element);
      const Index real = probe.lengths[static_cast<std::size_t>(place.batch)];
      if (has_tokens && place.token >= real) {
        if (!result.at_padding) result.at_padding = x;
        same_at_padding = same_at_padding && x == *result.at_padding;
      }
      if (real == 0 || (has_tokens && place.token >= real)) return;
      const auto column = static_cast<std::size_t>(rows.offset + place.feature);
      if (!seen[column]) result.values[column] = x;
      same = same && (result.values[column] == x);
      if (!any) result.first = x;
      result.uniform = result.uniform && x == result.first;
      seen[column] = true;
      any = true;
    });
  }
  if (!same_at_padding) result.at_padding.reset();
  const ir::Tensor* constant = reading.graph().constant(value);
  if (constant != nullptr && constant->dtype() == DType::f32 &&
      std::equal(result.values.begin(), result.values.end(), constant->data<float>().begin(),
                 constant->data<float>().end())) {
    result.constant = constant->reshaped({constant->elements()});
  }
  return any && same ? std::optional(std::move(result)) : std::nullopt;
}

Result<Rows> plus(Reading& reading, const Rows& rows, const ByColumn& vector) {
  if (vector.uniform && vector.first == 0) return rows;
  Addend addend{vector.values, vector.constant};
  if (rows.scale != 1) {
    for (double& value : addend.values)
      value /= rows.scale;
    addend.constant.reset();
  }
  const auto term = plus_vector(reading, rows.term, addend);
  if (!term) return misfit("a constant added where no linear layer or normalization can take it");
  Rows result = rows;
  result.term = *term;
  result.zero_padding = false;
  return result;
}

Result<Rows> times(Reading& reading, const Rows& rows, const ByColumn& vector) {
  Rows result = rows;
  result.zero_padding = rows.zero_padding || vector.at_padding == 0.0;
  if (vector.uniform) {
    if (vector.first == 0 || !std::isfinite(vector.first)) {
      return misfit(fmt::format("rows multiplied by {}", vector.first));
    }
    result.scale *= vector.first;
    return result;
  }
  const Term term = reading.term(rows.term);
  const auto* norm = std::get_if<LayerNormTerm>(&term.kind);
  if (norm == nullptr) return misfit("rows multiplied by a vector, expected a number");
  LayerNormTerm changed = *norm;
  changed.weight = product(norm->weight, vector.values);
  changed.bias = product(norm->bias, vector.values);
  result.term = reading.add(std::move(changed), term.columns, term.name);
  return result;
}

}  // namespace rtai::raise
