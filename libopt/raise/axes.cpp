#include "libopt/raise/internal/axes.h"

#include <algorithm>

namespace rtai::raise {
namespace {

/// Adds an atom to an axis; one column sequence that goes on is one atom, size 1 is none.
void append(Axis& axis, const Atom& atom) {
  if (atom.unit == Unit::feature && atom.size == 1) return;
  if (!axis.empty()) {
    Atom& last = axis.back();
    const bool goes_on = atom.unit == Unit::feature && last.unit == Unit::feature &&
                         last.stride == atom.size * atom.stride;
    if (goes_on) {
      last = feature(last.size * atom.size, atom.stride);
      return;
    }
  }
  axis.push_back(atom);
}

/// Cuts the first `outer` of `atom`: [outer, rest] take its place.
std::optional<std::pair<Atom, Atom>> cut(const Atom& atom, Index outer) {
  if (atom.unit != Unit::feature || outer < 1 || atom.size % outer != 0) return std::nullopt;
  const Index rest = atom.size / outer;
  return std::pair{feature(outer, rest * atom.stride), feature(rest, atom.stride)};
}

/// Reads atoms one after the other, cutting features where an axis ends inside of one.
class Regrouper {
 public:
  Regrouper(const Axes& axes, std::span<const Probe> probes) : probes_(probes) {
    for (const Axis& axis : axes)
      atoms_.insert(atoms_.end(), axis.begin(), axis.end());
    std::reverse(atoms_.begin(), atoms_.end());  // the next one is at the back
  }

  /// The next axis, of size sizes[p] in probe p.
  std::optional<Axis> take(const std::vector<Index>& sizes) {
    Axis axis;
    std::vector<Index> have(probes_.size(), 1);
    while (have != sizes) {
      if (atoms_.empty()) return std::nullopt;
      Atom atom = atoms_.back();
      atoms_.pop_back();
      if (!fits(atom, have, sizes)) {
        // Every probe must ask for the same part of it.
        const Index outer = have[0] == 0 ? 0 : sizes[0] / have[0];
        const auto parts = cut(atom, outer);
        if (!parts || !fits(parts->first, have, sizes)) return std::nullopt;
        atom = parts->first;
        atoms_.push_back(parts->second);
      }
      for (std::size_t p = 0; p < probes_.size(); ++p)
        have[p] *= size_of(atom, probes_[p]);
      append(axis, atom);
    }
    return axis;
  }

  bool is_done() const {
    return std::all_of(atoms_.begin(), atoms_.end(), [](const Atom& atom) {
      return atom.unit == Unit::feature && atom.size == 1;
    });
  }

 private:
  bool fits(const Atom& atom,
            const std::vector<Index>& have,
            const std::vector<Index>& sizes) const {
    for (std::size_t p = 0; p < probes_.size(); ++p) {
      const Index next = have[p] * size_of(atom, probes_[p]);
      if (next == 0 || next > sizes[p] || sizes[p] % next != 0) return false;
    }
    return true;
  }

  std::span<const Probe> probes_;
  std::vector<Atom> atoms_;
};

/// sizes[p]: dimension `axis` in probe p.
std::vector<Index> sizes_at(std::span<const ir::Dims> dims, std::size_t axis) {
  std::vector<Index> sizes;
  for (const ir::Dims& d : dims)
    sizes.push_back(d[axis]);
  return sizes;
}

bool same_rank(std::span<const ir::Dims> dims) {
  return std::all_of(dims.begin(), dims.end(),
                     [&](const ir::Dims& d) { return d.size() == dims[0].size(); });
}

}  // namespace

Index size_of(const Atom& atom, const Probe& probe) {
  switch (atom.unit) {
    case Unit::batch:
      return probe.batch;
    case Unit::token:
    case Unit::key:
      return probe.length;
    case Unit::feature:
      break;
  }
  return atom.size;
}

Index size_of(const Axis& axis, const Probe& probe) {
  Index size = 1;
  for (const Atom& atom : axis)
    size *= size_of(atom, probe);
  return size;
}

bool has(const Axes& axes, Unit unit) {
  return std::any_of(axes.begin(), axes.end(), [&](const Axis& axis) {
    return std::any_of(axis.begin(), axis.end(),
                       [&](const Atom& atom) { return atom.unit == unit; });
  });
}

std::string to_string(const Axes& axes) {
  std::string text = "[";
  for (const Axis& axis : axes) {
    if (text.size() > 1) text += ", ";
    std::string product;
    for (const Atom& atom : axis) {
      if (!product.empty()) product += " * ";
      switch (atom.unit) {
        case Unit::batch:
          product += "batch";
          break;
        case Unit::token:
          product += "seq";
          break;
        case Unit::key:
          product += "keys";
          break;
        case Unit::feature:
          product += std::to_string(atom.size);
      }
    }
    text += product.empty() ? "1" : product;
  }
  return text + "]";
}

std::optional<Axes> regroup(const Axes& axes,
                            std::span<const ir::Dims> dims,
                            std::span<const Probe> probes) {
  if (!same_rank(dims)) return std::nullopt;
  Regrouper regrouper(axes, probes);
  Axes result;
  for (std::size_t i = 0; i < dims[0].size(); ++i) {
    std::optional<Axis> axis = regrouper.take(sizes_at(dims, i));
    if (!axis) return std::nullopt;
    result.push_back(*std::move(axis));
  }
  return regrouper.is_done() ? std::optional(std::move(result)) : std::nullopt;
}

std::optional<Axes> expand(const Axes& axes,
                           std::span<const ir::Dims> dims,
                           std::span<const Probe> probes) {
  if (!same_rank(dims) || dims[0].size() < axes.size()) return std::nullopt;
  Axes result(dims[0].size() - axes.size());
  result.insert(result.end(), axes.begin(), axes.end());
  const bool has_batch = has(axes, Unit::batch);
  for (std::size_t i = 0; i < result.size(); ++i) {
    const std::vector<Index> sizes = sizes_at(dims, i);
    const auto is = [&](const auto& size) {
      for (std::size_t p = 0; p < probes.size(); ++p) {
        if (sizes[p] != size(probes[p])) return false;
      }
      return true;
    };
    if (is([&](const Probe& probe) { return size_of(result[i], probe); })) continue;
    if (!result[i].empty()) return std::nullopt;
    if (!has_batch && is([](const Probe& probe) { return probe.batch; })) {
      result[i] = {kBatch};
    } else if (is([&](const Probe&) { return sizes[0]; })) {
      result[i] = {feature(sizes[0], 0)};
    } else {
      return std::nullopt;
    }
  }
  return result;
}

std::optional<std::vector<Index>> columns_of(const Axis& axis) {
  std::vector<Index> columns = {0};
  for (const Atom& atom : axis) {
    if (atom.unit != Unit::feature) return std::nullopt;
    std::vector<Index> next;
    for (const Index column : columns) {
      for (Index i = 0; i < atom.size; ++i)
        next.push_back(column + i * atom.stride);
    }
    columns = std::move(next);
  }
  return columns;
}

std::vector<Place> places_of(const Axis& axis, const Probe& probe) {
  std::vector<Place> places = {Place{}};
  for (const Atom& atom : axis) {
    std::vector<Place> next;
    for (const Place& place : places) {
      for (Index i = 0; i < size_of(atom, probe); ++i) {
        Place inner = place;
        switch (atom.unit) {
          case Unit::batch:
            inner.batch += i;
            break;
          case Unit::token:
            inner.token += i;
            break;
          case Unit::key:
            inner.key += i;
            break;
          case Unit::feature:
            inner.feature += i * atom.stride;
        }
        next.push_back(inner);
      }
    }
    places = std::move(next);
  }
  return places;
}

}  // namespace rtai::raise
