#include "libopt/raise/internal/relative.h"

#include "libopt/raise/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace rtai::raise {
namespace {

/// Of a model without positions of its own.
constexpr Index kDefaultSpan = 512;

/// The longest sequence that the model takes.
Index longest_sequence(const Reading& reading) {
  if (reading.interface().length) return *reading.interface().length;
  std::optional<Index> longest;
  for (const Term& term : reading.terms()) {
    const auto* embedding = std::get_if<EmbeddingTerm>(&term.kind);
    if (embedding == nullptr || !embedding->position) continue;
    const Index rows = embedding->position->dim(0) - embedding->position_offset;
    longest = std::min(longest.value_or(rows), rows);
  }
  return longest.value_or(kDefaultSpan);
}

/// The dimensions that a shape node gives in a probe, told by the axes of what it looks at: so
/// nothing that passed weights has to be computed.
std::optional<ir::Tensor> shape_in(const Reading& reading,
                                   const ir::Node& node,
                                   const Probe& probe) {
  const Axes* axes = axes_of(reading.meaning(node.input(0)));
  if (node.op() != ir::Op::shape || axes == nullptr) return std::nullopt;
  const auto rank = std::ssize(*axes);
  const auto clamp = [rank](Index i) { return std::clamp<Index>(i < 0 ? i + rank : i, 0, rank); };
  const Index end = clamp(node.attributes().integer("end", rank));
  std::vector<std::int64_t> sizes;
  for (Index i = clamp(node.attributes().integer("start", 0)); i < end; ++i)
    sizes.push_back(size_of((*axes)[static_cast<std::size_t>(i)], probe));
  const auto count = std::ssize(sizes);
  return ir::Tensor::from<std::int64_t>({count}, sizes);
}

/// A run on the longest sequence.
Result<Probe> long_probe(const Reading& reading, std::span<const ir::ValueId> wanted) {
  Probe sizes;
  sizes.batch = reading.interface().batch.value_or(1);
  sizes.length = longest_sequence(reading);
  std::map<ir::ValueId, ir::Tensor> shapes;
  for (const ir::NodeId id : reading.graph().order()) {
    const ir::Node& node = reading.graph().node(id);
    if (auto shape = shape_in(reading, node, sizes)) shapes[node.output()] = *std::move(shape);
  }
  return probe_values(reading.graph(), reading.interface(), sizes.length, wanted,
                      std::move(shapes));
}

/// What two layers do to their scores alike.
bool same_changes(const Reading& reading, const Scores& a, const Scores& b) {
  return a.query.heads.size() == b.query.heads.size() && a.axes == b.axes &&
         std::equal(a.changes.begin(), a.changes.end(), b.changes.begin(), b.changes.end(),
                    [&](const ScoreChange& x, const ScoreChange& y) {
                      const auto number = reading.number(x.known);
                      const bool same_value =
                          x.known == y.known || (number && number == reading.number(y.known));
                      return same_value && x.kind == y.kind && x.axes == y.axes && x.fill == y.fill;
                    });
}

/// The biases of relative scores for the longest sequence, made once for layers that share them.
Result<ir::Tensor> full_bias(Reading& reading, const Scores& scores) {
  for (const auto& [known, bias] : reading.biases()) {
    if (same_changes(reading, known, scores)) return bias;
  }
  std::vector<ir::ValueId> wanted;
  for (const ScoreChange& change : scores.changes)
    wanted.push_back(change.known);
  RTAI_TRY(const Probe probe, long_probe(reading, wanted));
  RTAI_TRY(ir::Tensor bias, relative_bias(scores, probe));
  reading.biases().emplace_back(scores, bias);
  return bias;
}

/// Heads are numbered alike; in lookups their columns are further apart.
Axes without_strides(Axes axes) {
  for (Axis& axis : axes) {
    for (Atom& atom : axis)
      atom.stride = 0;
  }
  return axes;
}

// --- tables of vectors

/// Which entry is chosen for each distance from the token of the rows to the other one, from
/// -(length - 1) on. Errors: unsupported if anything but the distance decides.
Result<std::vector<Index>> entries_by_distance(const RelativePart& part, const Probe& probe) {
  std::vector<Index> entries(static_cast<std::size_t>(2 * probe.length - 1), -1);
  const ir::Tensor& index = *probe.contents(part.index);
  const std::vector<Index> values = index.to_indices();
  bool fits = true;
  for_each_place(part.index_axes, probe, index.dims(), [&](const Place& place, Index element) {
    Index& known = entries[static_cast<std::size_t>(probe.length - 1 + place.key - place.token)];
    Index entry = values[static_cast<std::size_t>(element)];
    if (entry < 0) entry += part.lookups.entries;
    if (known < 0) known = entry;
    fits = fits && known == entry && entry < part.lookups.entries;
  });
  if (fits && std::ranges::none_of(entries, [](Index e) { return e < 0; })) return entries;
  return misfit("entries of a table that are not chosen by the distance of key and query alone");
}

/// Adds the vectors of a part, times `factor`, to a table f32[heads * head_dim, 2 * span - 1].
void add_part(const RelativePart& part,
              std::span<const Index> entries,
              double factor,
              std::optional<ir::Tensor>& table) {
  const Lookups& lookups = part.lookups;
  const Index rows = std::ssize(lookups.rows.heads) * std::ssize(lookups.rows.dims);
  const auto distances = std::ssize(entries);
  if (!table) {
    table = ir::Tensor::from<float>(
        {rows, distances}, std::vector<float>(static_cast<std::size_t>(rows * distances), 0.0f));
  }
  const std::span<float> values = table->mutable_data<float>();
  for (Index row = 0; row < rows; ++row) {
    for (Index i = 0; i < distances; ++i) {
      // Rows that are keys stand on the other end of the distance.
      const Index at = part.by_key ? distances - 1 - i : i;
      const Index entry = row * lookups.entries + entries[static_cast<std::size_t>(at)];
      values[static_cast<std::size_t>(row * distances + i)] +=
          static_cast<float>(factor * (*lookups.table)[static_cast<std::size_t>(entry)]);
    }
  }
}

}  // namespace

Axes turned(const Axes& axes) {
  Axes result = axes;
  for (Axis& axis : result) {
    for (Atom& atom : axis) {
      if (atom.unit == Unit::token)
        atom.unit = Unit::key;
      else if (atom.unit == Unit::key)
        atom.unit = Unit::token;
    }
  }
  return result;
}

Scores turned(const Scores& scores) {
  Scores result = scores;
  std::swap(result.query, result.key);
  result.axes = turned(scores.axes);
  for (ScoreChange& change : result.changes)
    change.axes = turned(change.axes);
  for (RelativePart& part : result.parts)
    part.by_key = !part.by_key;
  return result;
}

Result<Meaning> choose_entries(const Reading& reading, const ir::Node& node) {
  const auto* lookups = reading.get<Lookups>(node.input(0));
  const ir::ValueId index = node.input(1);
  if (lookups == nullptr || !reading.is_known(index)) {
    return misfit(fmt::format("selects from {} by {}", reading.describe(node.input(0)),
                              reading.describe(index)));
  }
  const auto rank = std::ssize(lookups->axes);
  const Index axis = node.attributes().integer("axis", 0);
  Axes axes = lookups->axes;
  Axis& chosen = axes[static_cast<std::size_t>(axis < 0 ? axis + rank : axis)];
  if (chosen != Axis{feature(lookups->entries, 1)} && lookups->entries > 1)
    return misfit(fmt::format("selects along another axis than the entries of {}",
                              reading.describe(node.input(0))));
  chosen = {kKey};
  RelativePart part{.lookups = *lookups, .index = index, .index_axes = axes};
  for (const Probe& probe : reading.probes()) {
    RTAI_TRY([[maybe_unused]] const auto entries, entries_by_distance(part, probe));
  }
  return RelativeScores{.parts = {std::move(part)}, .axes = std::move(axes)};
}

Result<Meaning> add_relative(const RelativeScores& a, const RelativeScores& b) {
  const Axes x = without_strides(a.axes);
  const bool same = x == without_strides(b.axes);
  if (!same && x != without_strides(turned(b.axes))) {
    return misfit(fmt::format("relative scores {} and relative scores {}", to_string(a.axes),
                              to_string(b.axes)));
  }
  RelativeScores sum = a;
  for (RelativePart part : b.parts) {
    part.by_key = part.by_key == same;
    sum.parts.push_back(std::move(part));
  }
  return sum;
}

Result<Meaning> add_relative(const Scores& scores, const RelativeScores& relative) {
  const Axes x = without_strides(scores.axes);
  const bool same = x == without_strides(relative.axes);
  if (!same && x != without_strides(turned(relative.axes))) {
    return misfit(fmt::format("attention scores {} and relative scores {}", to_string(scores.axes),
                              to_string(relative.axes)));
  }
  if (!scores.changes.empty()) return misfit("relative scores added to scores that were changed");
  Scores sum = scores;
  for (RelativePart part : relative.parts) {
    part.by_key = part.by_key == same;
    sum.parts.push_back(std::move(part));
  }
  return sum;
}

Meaning times(Meaning relative, double factor) {
  if (auto* lookups = std::get_if<Lookups>(&relative)) lookups->scale *= factor;
  if (auto* scores = std::get_if<RelativeScores>(&relative)) {
    for (RelativePart& part : scores->parts)
      part.lookups.scale *= factor;
  }
  return relative;
}

Result<RelativeTables> relative_tables(Reading& reading,
                                       const Scores& scores,
                                       const MaskMeaning& mask) {
  RelativeTables tables;
  if (mask.relative) {
    RTAI_TRY(tables.bias, full_bias(reading, scores));
  }
  if (scores.parts.empty()) return tables;
  std::vector<ir::ValueId> wanted;
  for (const RelativePart& part : scores.parts)
    wanted.push_back(part.index);
  RTAI_TRY(const Probe probe, long_probe(reading, wanted));
  for (const RelativePart& part : scores.parts) {
    if (part.lookups.rows != (part.by_key ? scores.key : scores.query)) {
      return misfit("relative scores of other queries or keys than those of the scores");
    }
    RTAI_TRY(const std::vector<Index> entries, entries_by_distance(part, probe));
    // Whatever multiplied the scores since multiplied the parts, too.
    const double factor = part.lookups.scale / scores.scale;
    add_part(part, entries, factor, part.by_key ? tables.query : tables.key);
  }
  return tables;
}

}  // namespace rtai::raise
