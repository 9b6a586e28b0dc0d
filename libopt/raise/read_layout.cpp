// Operators that move elements: a change of axes, a choice of columns, or the first token.
#include "libopt/raise/internal/reading.h"
#include "libopt/raise/internal/rows.h"

#include <fmt/format.h>

#include <algorithm>

namespace rtai::raise {
namespace {

using ir::Op;
using ir::ValueId;

Error moves(const Reading& reading, ValueId input) {
  return misfit(fmt::format("moves {}", reading.describe(input)));
}

/// The input under other axes; nothing: they cannot be made from its own.
Result<Meaning> change_axes(const Reading& reading, ValueId input, std::optional<Axes> axes) {
  if (!axes) return misfit(fmt::format("takes {} apart", reading.describe(input)));
  return with_axes(reading.meaning(input), *std::move(axes));
}

Result<Meaning> reshape(const Reading& reading, const ir::Node& node) {
  const Axes* axes = axes_of(reading.meaning(node.input(0)));
  if (axes == nullptr) return moves(reading, node.input(0));
  return change_axes(reading, node.input(0),
                     regroup(*axes, reading.dims(node.output()), reading.probes()));
}

Result<Meaning> expand(const Reading& reading, const ir::Node& node) {
  const Axes* axes = axes_of(reading.meaning(node.input(0)));
  if (axes == nullptr) return moves(reading, node.input(0));
  return change_axes(reading, node.input(0),
                     expand(*axes, reading.dims(node.output()), reading.probes()));
}

Result<Meaning> transpose(const Reading& reading, const ir::Node& node) {
  const Axes* axes = axes_of(reading.meaning(node.input(0)));
  if (axes == nullptr) return moves(reading, node.input(0));
  std::vector<std::int64_t> order = node.attributes().integers("perm");
  if (order.empty()) {
    for (std::size_t i = axes->size(); i-- > 0;)
      order.push_back(static_cast<std::int64_t>(i));
  }
  Axes moved;
  for (const std::int64_t from : order)  // valid: the probes have run
    moved.push_back((*axes)[static_cast<std::size_t>(from)]);
  return with_axes(reading.meaning(node.input(0)), std::move(moved));
}

/// A part of one axis: which, from where, and how many in each probe.
struct Part {
  std::size_t axis = 0;
  Index begin = 0;
  std::vector<Index> sizes = {};
  bool keeps_axis = true;  // of size 1; else the axis goes away
};

bool is_whole(const Reading& reading, const Axis& axis, const Part& part) {
  for (std::size_t p = 0; p < reading.probes().size(); ++p) {
    if (part.sizes[p] != size_of(axis, reading.probes()[p])) return false;
  }
  return part.begin == 0;
}

/// Columns [begin, begin + size) of an axis of one feature, or the first token of each sequence.
Result<Meaning> take(Reading& reading, ValueId input, const Part& part) {
  const Axes* axes = axes_of(reading.meaning(input));
  if (axes == nullptr) return misfit(fmt::format("takes a part of {}", reading.describe(input)));
  const Axis& axis = (*axes)[part.axis];
  const bool one =
      std::all_of(part.sizes.begin(), part.sizes.end(), [](Index n) { return n == 1; });
  if (is_whole(reading, axis, part)) {
    Axes kept = *axes;
    if (!part.keeps_axis) kept.erase(kept.begin() + static_cast<std::ptrdiff_t>(part.axis));
    return with_axes(reading.meaning(input), std::move(kept));
  }
  const Rows* source = reading.get<Rows>(input);
  if (source == nullptr) return misfit(fmt::format("takes a part of {}", reading.describe(input)));
  Rows rows = *source;
  Axis& changed = rows.axes[part.axis];
  if (axis == Axis{kToken} && one && part.begin == 0) {
    const Term& term = reading.term(rows.term);
    rows.term = reading.add(RowsTerm{rows.term, Op::first_token}, term.columns, term.name);
    rows.zero_padding = false;
    changed.clear();
  } else if (const auto columns = columns_of(axis)) {
    const auto begin = static_cast<std::size_t>(part.begin);
    const auto size = static_cast<std::size_t>(part.sizes[0]);
    const bool fixed = std::all_of(part.sizes.begin(), part.sizes.end(),
                                   [&](Index n) { return n == part.sizes[0]; });
    if (!fixed || axis.size() != 1 || begin + size > columns->size() || size == 0) {
      return misfit(fmt::format("takes a part of {}", reading.describe(input)));
    }
    rows.offset += (*columns)[begin];
    changed = size == 1 ? Axis{} : Axis{feature(part.sizes[0], axis[0].stride)};
  } else {
    return misfit(
        fmt::format("takes [{}, {}) of axis {} of {}, expected columns or the first token",
                    part.begin, part.begin + part.sizes[0], part.axis, reading.describe(input)));
  }
  if (!part.keeps_axis) {
    rows.axes.erase(rows.axes.begin() + static_cast<std::ptrdiff_t>(part.axis));
  }
  return rows;
}

std::size_t wrap_axis(Index axis, Index rank) {
  return static_cast<std::size_t>(axis < 0 ? axis + rank : axis);
}

Result<Meanings> split(Reading& reading, const ir::Node& node) {
  const Index rank = reading.rank(node.input(0));
  Part part{.axis = wrap_axis(node.attributes().integer("axis", 0), rank)};
  Meanings meanings;
  for (const ValueId output : node.outputs()) {
    part.sizes.clear();
    for (const Probe& probe : reading.probes())
      part.sizes.push_back(probe.dims(output)[part.axis]);
    RTAI_TRY(Meaning meaning, take(reading, node.input(0), part));
    meanings.push_back(std::move(meaning));
    part.begin += part.sizes[0];
  }
  return meanings;
}

/// starts[i] and axes[i] are read from the probes; sizes are those of the result.
Result<Meaning> slice(Reading& reading, const ir::Node& node) {
  const ValueId input = node.input(0);
  const Index rank = reading.rank(input);
  const ir::Tensor* starts = reading.constant(node.input(1));
  const ir::Tensor* steps = reading.constant(node.input(4));
  if (starts == nullptr || (node.input(4) != ir::kNoValue && steps == nullptr)) {
    return misfit("starts or steps that change from batch to batch");
  }
  Meaning meaning = reading.meaning(input);
  bool taken = false;
  for (Index i = 0; i < starts->elements(); ++i) {
    const ir::Tensor* axes = reading.constant(node.input(3));
    Part part{.axis = wrap_axis(
                  axes == nullptr ? i : axes->to_indices()[static_cast<std::size_t>(i)], rank)};
    Index start = starts->to_indices()[static_cast<std::size_t>(i)];
    bool whole = true;
    for (const Probe& probe : reading.probes()) {
      part.sizes.push_back(probe.dims(node.output())[part.axis]);
      whole = whole && part.sizes.back() == probe.dims(input)[part.axis];
    }
    const Index step = steps == nullptr ? 1 : steps->to_indices()[static_cast<std::size_t>(i)];
    if (step != 1) return misfit(fmt::format("a step of {}", step));
    if (whole) continue;
    const Axes* before = axes_of(reading.meaning(input));
    if (taken || before == nullptr) return misfit("slices several axes at once");
    if (start < 0) {  // from the end: the same place only along features
      if (!columns_of((*before)[part.axis])) return misfit("takes the last tokens");
      start += reading.probes()[0].dims(input)[part.axis];
    }
    part.begin = std::max<Index>(start, 0);
    RTAI_TRY(meaning, take(reading, input, part));
    taken = true;
  }
  return meaning;
}

/// Of rows: one column or the first token, by a constant index.
Result<Meaning> gather(Reading& reading, const ir::Node& node) {
  const ValueId input = node.input(0);
  const Index rank = reading.rank(input);
  const ir::Tensor* index = reading.constant(node.input(1));
  if (index == nullptr || index->elements() != 1 || index->rank() > 1) {
    return misfit(fmt::format("selects from {} by {}", reading.describe(input),
                              reading.describe(node.input(1))));
  }
  Part part{.axis = wrap_axis(node.attributes().integer("axis", 0), rank),
            .begin = index->to_indices()[0],
            .sizes = std::vector<Index>(reading.probes().size(), 1),
            .keeps_axis = index->rank() == 1};
  const Axes* axes = axes_of(reading.meaning(input));
  if (part.begin < 0 && axes != nullptr && columns_of((*axes)[part.axis])) {
    part.begin += reading.probes()[0].dims(input)[part.axis];
  }
  return take(reading, input, part);
}

bool is_float(DType dtype) {
  return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::f16 || dtype == DType::bf16;
}

}  // namespace

Result<Meanings> read_layout(Reading& reading, const ir::Node& node) {
  const ValueId input = node.input(0);
  switch (node.op()) {
    case Op::dropout:
    case Op::identity: {
      Meanings same(node.outputs().size(), Plain{});
      same[0] = reading.meaning(input);
      return same;
    }
    case Op::cast:
    case Op::cast_like:
      if (!is_float(reading.probes()[0].dtype(node.output())) &&
          !std::holds_alternative<NotANumber>(reading.meaning(input))) {
        return misfit(fmt::format("turns {} into {}", reading.describe(input),
                                  dtype_name(reading.probes()[0].dtype(node.output()))));
      }
      return Meanings{reading.meaning(input)};
    case Op::reshape:
    case Op::flatten:
    case Op::squeeze:
    case Op::unsqueeze:
      return one(reshape(reading, node));
    case Op::expand:
    case Op::tile:
      return one(expand(reading, node));
    case Op::transpose:
      return one(transpose(reading, node));
    case Op::split:
      return split(reading, node);
    case Op::slice:
      return one(slice(reading, node));
    case Op::gather:
      return one(gather(reading, node));
    default:
      break;
  }
  return moves(reading, input);
}

}  // namespace rtai::raise
