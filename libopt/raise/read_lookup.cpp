// Embeddings: tables read by ids, segments or positions, recognized by the values of the index.
#include "libopt/raise/internal/lookup.h"
#include "libopt/raise/internal/reading.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

/// The axes of an index: [batch, seq], [seq], [1, seq], [batch * seq], ...
std::optional<Axes> index_axes(const Reading& reading, std::span<const ir::Dims> dims) {
  Axis both = reading.batch_axis();
  both.push_back(kToken);
  if (auto axes = regroup({both}, dims, reading.probes())) return axes;
  return regroup({{kToken}}, dims, reading.probes());
}

/// The input that fills `role`, as it was given to the probe; null if none does.
const ir::Tensor* input_of(const Reading& reading, const Probe& probe, Role role) {
  const auto input = reading.interface().find(role);
  return input ? probe.contents(reading.graph().inputs()[*input]) : nullptr;
}

/// Calls f(probe, place, i) for each real token.
template <class F>
void for_each_token(const Reading& reading,
                    const Axes& axes,
                    std::span<const ir::Tensor> indices,
                    F&& f) {
  for (std::size_t p = 0; p < reading.probes().size(); ++p) {
    const Probe& probe = reading.probes()[p];
    for_each_place(axes, probe, indices[p].dims(), [&](const Place& place, Index element) {
      if (place.token < probe.lengths[static_cast<std::size_t>(place.batch)])
        f(probe, place, indices[p].value(element));
    });
  }
}

EmbeddingTerm table_term(const IndexMeaning& index, const ir::Tensor& table) {
  EmbeddingTerm term;
  switch (index.kind) {
    case IndexMeaning::Kind::ids:
      term.word = table;
      break;
    case IndexMeaning::Kind::segments:
      term.segment = table;
      break;
    case IndexMeaning::Kind::positions:
      term.position = table;
      term.position_offset = index.offset;
  }
  return term;
}

Rows select_rows(Reading& reading,
                 const ir::Node& node,
                 const IndexMeaning& index,
                 const ir::Tensor& table) {
  Axes axes = index.axes;
  axes.push_back({feature(table.dim(1), 1)});
  const TermId term = reading.add(table_term(index, table), table.dim(1), node.name());
  return {.term = term, .axes = std::move(axes)};
}

std::vector<ir::Tensor> contents(const Reading& reading, ValueId id) {
  std::vector<ir::Tensor> all;
  for (const Probe& probe : reading.probes())
    all.push_back(*probe.contents(id));
  return all;
}

Result<Meaning> gather_rows(Reading& reading, const ir::Node& node) {
  const ir::Tensor* table = reading.graph().constant(node.input(0));
  if (table == nullptr || table->rank() != 2 || table->dtype() != DType::f32 ||
      node.attributes().integer("axis", 0) != 0 || !reading.is_known(node.input(1))) {
    return Plain{};
  }
  const std::vector<ir::Tensor> indices = contents(reading, node.input(1));
  const auto index = index_meaning(reading, indices);
  return index ? Meaning(select_rows(reading, node, *index, *table)) : Meaning(Plain{});
}

/// table[offset : offset + seq]
Result<Meaning> slice_rows(Reading& reading, const ir::Node& node) {
  const ir::Tensor* table = reading.graph().constant(node.input(0));
  const ir::Tensor* starts = reading.constant(node.input(1));
  const std::vector<ir::Dims> dims = reading.dims(node.output());
  if (table == nullptr || table->dtype() != DType::f32 || table->rank() < 2 || starts == nullptr ||
      starts->elements() != 1) {
    return Plain{};
  }
  // [1, positions, columns], cut to the length of the sequences, and of no other size than 1.
  const Index columns = table->dim(-1);
  const Index positions = table->dim(-2);
  const std::optional<Axes> axes =
      regroup({{kToken}, {feature(columns, 1)}}, dims, reading.probes());
  const bool outer_is_one = table->elements() == positions * columns;
  if (!axes || !outer_is_one || dims[0].back() != columns) return Plain{};
  Index start = starts->to_indices()[0];
  if (start < 0) start += positions;
  const IndexMeaning index{
      .kind = IndexMeaning::Kind::positions, .offset = std::max<Index>(start, 0), .axes = {}};
  const ir::Tensor rows = table->reshaped({positions, columns});
  const TermId term = reading.add(table_term(index, rows), columns, node.name());
  return Rows{.term = term, .axes = *axes};
}

/// A one-hot row times a table is the row that it selects.
Result<Meaning> product(Reading& reading, const ir::Node& node) {
  const ir::Tensor* table = reading.graph().constant(node.input(1));
  if (table == nullptr || table->rank() != 2 || table->dtype() != DType::f32 ||
      !reading.is_known(node.input(0)) || reading.get<Rows>(node.input(0)) != nullptr) {
    return Plain{};
  }
  std::vector<ir::Tensor> indices;
  for (const ir::Tensor& rows : contents(reading, node.input(0))) {
    if (rows.rank() < 2 || rows.dim(-1) != table->dim(0)) return Plain{};
    const Index width = rows.dim(-1);
    std::vector<std::int64_t> hot(static_cast<std::size_t>(rows.elements() / width), -1);
    for (Index i = 0; i < rows.elements(); ++i) {
      const double x = rows.value(i);
      std::int64_t& found = hot[static_cast<std::size_t>(i / width)];
      if (x == 1 && found < 0)
        found = i % width;
      else if (x != 0)
        return Plain{};
    }
    ir::Dims dims = rows.dims();
    dims.pop_back();
    indices.push_back(ir::Tensor::from<std::int64_t>(dims, hot));
  }
  const auto index = index_meaning(reading, indices);
  return index ? Meaning(select_rows(reading, node, *index, *table)) : Meaning(Plain{});
}

}  // namespace

std::optional<IndexMeaning> index_meaning(const Reading& reading,
                                          std::span<const ir::Tensor> indices) {
  std::vector<ir::Dims> dims;
  for (const ir::Tensor& tensor : indices)
    dims.push_back(tensor.dims());
  const std::optional<Axes> axes = index_axes(reading, dims);
  if (!axes) return std::nullopt;

  std::optional<double> first;
  std::optional<double> offset;
  bool constant = true;
  bool ids = true;
  bool segments = true;
  bool positions = true;
  for_each_token(reading, *axes, indices, [&](const Probe& probe, const Place& place, double x) {
    const auto is = [&](Role role) {
      const ir::Tensor* input = input_of(reading, probe, role);
      return input != nullptr && input->value(place.batch * probe.length + place.token) == x;
    };
    if (!first) {
      first = x;
      offset = x - static_cast<double>(place.token);
    }
    constant = constant && x == *first;
    ids = ids && is(Role::ids);
    segments = segments && is(Role::segments);
    positions = positions && x - static_cast<double>(place.token) == *offset;
  });
  if (!first || constant) return std::nullopt;
  if (segments) return IndexMeaning{IndexMeaning::Kind::segments, 0, *axes};
  if (ids) return IndexMeaning{IndexMeaning::Kind::ids, 0, *axes};
  if (positions && *offset >= 0) {
    return IndexMeaning{IndexMeaning::Kind::positions, static_cast<Index>(*offset), *axes};
  }
  return std::nullopt;
}

std::optional<ir::Tensor> position_table(const Reading& reading, const Rows& rows, ValueId value) {
  if (!reading.interface().length || !reading.is_known(value)) return std::nullopt;
  const Index columns = reading.term(rows.term).columns;
  const Index length = *reading.interface().length;
  constexpr Index kMostElements = Index{1} << 28;
  if (length > kMostElements / columns) return std::nullopt;
  std::vector<float> table(static_cast<std::size_t>(length * columns), 0.0f);
  std::vector<bool> seen(table.size(), false);
  bool same = true;
  for (const Probe& probe : reading.probes()) {
    const ir::Tensor& known = *probe.contents(value);
    for_each_place(rows.axes, probe, known.dims(), [&](const Place& place, Index element) {
      const auto x = static_cast<float>(known.value(element));
      const auto at = static_cast<std::size_t>(place.token * columns + rows.offset + place.feature);
      same = same && (!seen[at] || table[at] == x);
      table[at] = x;
      seen[at] = true;
    });
  }
  if (!same) return std::nullopt;
  return ir::Tensor::from<float>({length, columns}, table);
}

std::optional<EmbeddingTerm> merge(const EmbeddingTerm& a, const EmbeddingTerm& b) {
  EmbeddingTerm sum = a;
  const auto take = [](std::optional<ir::Tensor>& into, const std::optional<ir::Tensor>& from) {
    if (into && from) return false;
    if (from) into = from;
    return true;
  };
  if (b.position) sum.position_offset = b.position_offset;
  if (!take(sum.word, b.word) || !take(sum.position, b.position) || !take(sum.segment, b.segment)) {
    return std::nullopt;
  }
  if (a.row && b.row) {
    for (Index i = 0; i < sum.row->elements(); ++i) {
      sum.row->mutable_data<float>()[static_cast<std::size_t>(i)] +=
          static_cast<float>(b.row->value(i));
    }
  } else if (b.row) {
    sum.row = b.row;
  }
  return sum;
}

Result<Meaning> read_lookup(Reading& reading, const ir::Node& node) {
  switch (node.op()) {
    case Op::gather:
      return gather_rows(reading, node);
    case Op::slice:
      return slice_rows(reading, node);
    case Op::matmul:
      return product(reading, node);
    default:
      return Plain{};
  }
}

}  // namespace rtai::raise
